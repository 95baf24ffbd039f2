"""A run: its work directory, checkpoints, weights, log, likelihood and result file. Training builds on this."""
