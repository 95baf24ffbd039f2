"""PixelCNN++ on MNIST, without the upper stream, so that what lies above to the right is not seen.

Change: model.two_streams=False
"""

from pixel_cnn_story import mnist, pixel_cnn_pp

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The full network of pixel_cnn_story.py with one change."""
    return mnist(pixel_cnn_pp, two_streams=False)
