"""Training: a run from typed options to results.json, with PyTorch Lightning."""
