"""PixelCNN on MNIST: one stack of masked convolutions with a blind spot, softmax.

Change: model
"""

from pixel_cnn_story import mnist, pixel_cnn

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The network of pixel_cnn_story.py at this size."""
    return mnist(pixel_cnn)
