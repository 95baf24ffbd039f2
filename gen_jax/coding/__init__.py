"""Lossless compression: an exact model's bits as a file of that size."""
