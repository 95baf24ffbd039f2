"""PixelCNN++ on digits, all at full resolution, with as many residual networks.

Change: model.resnets=4 model.resolutions=1
"""

from pixel_cnn_story import digits, pixel_cnn_pp

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The full network of pixel_cnn_story.py with one change."""
    return digits(pixel_cnn_pp, resnets=4, resolutions=1)
