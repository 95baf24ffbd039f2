"""TFDS builders that write ArrayRecord and need no TensorFlow; integers as they are, with their number of levels."""

from gen_jax.data.builders.binarized_mnist import BinarizedMnist
from gen_jax.data.builders.cifar10 import Cifar10
from gen_jax.data.builders.digits import Digits
from gen_jax.data.builders.downsampled_imagenet import DownsampledImagenet32, DownsampledImagenet64
from gen_jax.data.builders.imagenet_resized import ImagenetResized32, ImagenetResized64
from gen_jax.data.builders.mnist import DynamicMnist, FashionMnist, Mnist, ThresholdedMnist
from gen_jax.data.builders.omniglot import Omniglot
from gen_jax.data.builders.plucks import Plucks

BUILDERS = {
    builder.name: builder
    for builder in (
        BinarizedMnist,
        Cifar10,
        Digits,
        DownsampledImagenet32,
        DownsampledImagenet64,
        DynamicMnist,
        FashionMnist,
        ImagenetResized32,
        ImagenetResized64,
        Mnist,
        Omniglot,
        Plucks,
        ThresholdedMnist,
    )
}
