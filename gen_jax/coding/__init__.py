"""Lossless compression: a file whose size is the model's number of bits."""
