"""TFDS builders that write ArrayRecord and need no TensorFlow.

They store integers unchanged, with their number of levels, and points in the plane as float32.
"""

from gen_jax.data.builders.binarized_mnist import BinarizedMnist
from gen_jax.data.builders.cifar10 import Cifar10
from gen_jax.data.builders.digits import Digits
from gen_jax.data.builders.downsampled_imagenet import DownsampledImagenet32, DownsampledImagenet64
from gen_jax.data.builders.imagenet_resized import ImagenetResized32, ImagenetResized64
from gen_jax.data.builders.mnist import DynamicMnist, FashionMnist, Mnist, ThresholdedMnist
from gen_jax.data.builders.omniglot import Omniglot
from gen_jax.data.builders.planar import (
    Checkerboard,
    Circles,
    EightGaussians,
    Moons,
    Pinwheel,
    TwoSpirals,
)
from gen_jax.data.builders.plucks import Plucks

BUILDERS = {
    builder.name: builder
    for builder in (
        BinarizedMnist,
        Checkerboard,
        Cifar10,
        Circles,
        Digits,
        DownsampledImagenet32,
        DownsampledImagenet64,
        DynamicMnist,
        EightGaussians,
        FashionMnist,
        ImagenetResized32,
        ImagenetResized64,
        Mnist,
        Moons,
        Omniglot,
        Plucks,
        Pinwheel,
        ThresholdedMnist,
        TwoSpirals,
    )
}
