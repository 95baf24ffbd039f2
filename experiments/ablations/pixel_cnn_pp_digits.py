"""PixelCNN++ on digits: two streams, strides, skips, dropout, mixture of logistics.

Change: none
"""

from pixel_cnn_story import digits, pixel_cnn_pp

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The network of pixel_cnn_story.py at this size."""
    return digits(pixel_cnn_pp)
