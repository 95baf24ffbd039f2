"""PixelCNN++ on MNIST, nothing passed from the way down to the way up.

Change: model.skips=False
"""

from pixel_cnn_story import mnist, pixel_cnn_pp

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The full network of pixel_cnn_story.py with one change."""
    return mnist(pixel_cnn_pp, skips=False)
