"""Training: fit, average, evaluate."""
