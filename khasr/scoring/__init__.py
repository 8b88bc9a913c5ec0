"""Scoring of hypotheses against references: pure functions over text, and the metric that training validates with."""
