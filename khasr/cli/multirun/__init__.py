"""Multirun with resume: many runs from one command, started again where it stopped."""
