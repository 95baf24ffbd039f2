"""A run: its work directory, checkpoints, weights and log, and what is measured of it. Training stands on this."""
