"""Generators and discriminators, fully connected and convolutional.

The convolutional ones are DCGAN's: strides in place of pooling, batch normalisation but for the generator's output and
the discriminator's input, N(0, 0.02^2) weights (Radford, Metz and Chintala 2016, 1511.06434).
"""

import math

import flax.linen as nn
from jaxtyping import Array, Float

from gen_jax.errors import InputError
from gen_jax.nn.batch_norm import BatchNorm
from gen_jax.nn.conv import Conv, ConvTranspose

INIT = nn.initializers.normal(0.02)
SLOPE = 0.2  # of the discriminators' leaky rectifiers


class DenseGenerator(nn.Module):
    """Rectified layers and a linear map to all values; without hidden layers it is linear."""

    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], shape: tuple[int, ...], train: bool
    ) -> Float[Array, "B *event"]:
        """Reals of the event's shape."""
        del train  # the same
        for features in self.hidden:
            z = nn.relu(nn.Dense(features)(z))
        return nn.Dense(math.prod(shape))(z).reshape(z.shape[0], *shape)


class DenseDiscriminator(nn.Module):
    """Leaky rectified layers over the flattened event."""

    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(self, x: Float[Array, "B *event"]) -> Float[Array, " B"]:
        """logit D(x)."""
        x = x.reshape(x.shape[0], -1)
        for features in self.hidden:
            x = nn.leaky_relu(nn.Dense(features)(x), SLOPE)
        return nn.Dense(1)(x)[:, 0]


class ConvGenerator(nn.Module):
    """A linear map to the coarsest image, then transposed 4x4 convolutions of stride 2, one for each of `features`."""

    features: tuple[int, ...] = (128, 64)

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], shape: tuple[int, ...], train: bool
    ) -> Float[Array, "B H W C"]:
        """Reals of the event's shape; InputError but for images whose sides 2^len(features) divides."""
        factor = _factor(self.features, shape)
        height, width, channels = (shape[0] // factor, shape[1] // factor, shape[2])
        x = nn.Dense(height * width * self.features[0], kernel_init=INIT, use_bias=False)(z)
        x = x.reshape(z.shape[0], height, width, -1)
        for features in self.features[1:]:
            x = nn.relu(BatchNorm()(x, train))
            x = ConvTranspose(features, (4, 4), 2, kernel_init=INIT, use_bias=False)(x)
        x = nn.relu(BatchNorm()(x, train))
        return ConvTranspose(channels, (4, 4), 2, kernel_init=INIT)(x)


class ConvDiscriminator(nn.Module):
    """4x4 convolutions of stride 2, one for each of `features`, then a linear map.

    It always sees a batch, normalised by its own statistics: real and generated ones apart.
    """

    features: tuple[int, ...] = (64, 128)

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, " B"]:
        """logit D(x); InputError but for images whose sides 2^len(features) divides."""
        _factor(self.features, x.shape[1:])
        for index, features in enumerate(self.features):
            x = Conv(features, (4, 4), 2, kernel_init=INIT, use_bias=index == 0)(x)
            x = nn.leaky_relu(x if index == 0 else BatchNorm(decay=None)(x, train=True), SLOPE)
        return nn.Dense(1, kernel_init=INIT)(x.reshape(x.shape[0], -1))[:, 0]


def _factor(features: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """By how much all strides together shrink an image; InputError where they do not divide its sides."""
    factor = 2 ** len(features)
    if not features or len(shape) != 3 or any(side % factor for side in shape[:2]):
        raise InputError(
            f"a convolutional network of {len(features)} layers needs at least one layer and images whose sides"
            f" {factor} divides, not {shape}"
        )
    return factor
