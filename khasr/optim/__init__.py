"""Parameter groups, optimizers, learning-rate schedules and averages of weights."""
