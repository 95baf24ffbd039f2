"""PixelCNN++ on MNIST, a softmax over the levels instead of a mixture of logistics.

Change: model.mixtures=None
"""

from pixel_cnn_story import mnist, pixel_cnn_pp

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The full network of pixel_cnn_story.py with one change."""
    return mnist(pixel_cnn_pp, mixtures=None)
