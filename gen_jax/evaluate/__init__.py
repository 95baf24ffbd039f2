"""Samples, distances, file sizes and receptive fields of a trained run, and the catalogue of results."""
