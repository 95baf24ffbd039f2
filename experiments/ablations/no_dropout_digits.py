"""PixelCNN++ on digits, trained without dropout.

Change: model.dropout=0.0
"""

from pixel_cnn_story import digits, pixel_cnn_pp

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The full network of pixel_cnn_story.py with one change."""
    return digits(pixel_cnn_pp, dropout=0.0)
