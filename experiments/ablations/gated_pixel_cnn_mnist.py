"""Gated PixelCNN on MNIST: two gated stacks without a blind spot, softmax.

Change: model
"""

from pixel_cnn_story import gated_pixel_cnn, mnist

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The network of pixel_cnn_story.py at this size."""
    return mnist(gated_pixel_cnn)
