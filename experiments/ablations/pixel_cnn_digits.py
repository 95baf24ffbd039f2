"""PixelCNN on digits: one stack of masked convolutions with a blind spot, softmax.

Change: model
"""

from pixel_cnn_story import digits, pixel_cnn

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The network of pixel_cnn_story.py at this size."""
    return digits(pixel_cnn)
