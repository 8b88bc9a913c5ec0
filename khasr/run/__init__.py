"""A run's folder: its layout, results and outcome, and the signals that stop a run."""
