"""TFDS builders that write ArrayRecord and need no TensorFlow; integers as they are, with their number of levels."""

from gen_jax.data.builders.binarized_mnist import BinarizedMnist
from gen_jax.data.builders.cifar10 import Cifar10
from gen_jax.data.builders.digits import Digits
from gen_jax.data.builders.mnist import DynamicMnist, FashionMnist, Mnist, ThresholdedMnist

BUILDERS = {
    builder.name: builder
    for builder in (
        BinarizedMnist,
        Cifar10,
        Digits,
        DynamicMnist,
        FashionMnist,
        Mnist,
        ThresholdedMnist,
    )
}
