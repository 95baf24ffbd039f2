"""Baselines: the simple models with which every other number is compared."""
