"""Gated PixelCNN on digits: two gated stacks without a blind spot, softmax.

Change: model
"""

from pixel_cnn_story import digits, gated_pixel_cnn

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The network of pixel_cnn_story.py at this size."""
    return digits(gated_pixel_cnn)
