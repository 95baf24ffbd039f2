"""Costs as ratios within one run: sampling, the lossless codec, training, and how they grow with size."""
