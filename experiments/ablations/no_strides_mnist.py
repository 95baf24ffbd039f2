"""PixelCNN++ on MNIST, all at full resolution, with as many residual networks.

Change: model.resnets=4 model.resolutions=1
"""

from pixel_cnn_story import mnist, pixel_cnn_pp

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The full network of pixel_cnn_story.py with one change."""
    return mnist(pixel_cnn_pp, resnets=4, resolutions=1)
