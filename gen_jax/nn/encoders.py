"""Dense and convolutional networks from an event to features (encoders), and from z to parameters (decoders)."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_jax.errors import InputError
from gen_jax.nn.conv import Conv, ConvTranspose, Dense

GLOROT = nn.initializers.glorot_uniform()


class DenseEncoder(nn.Module):
    """tanh layers over the flattened event, and over the vector y beside it; the last hidden layer is the output."""

    hidden: tuple[int, ...] = (200, 200)

    @nn.compact
    def __call__(
        self, x: Float[Array, "B *event"], y: Float[Array, "B K"] | None = None
    ) -> Float[Array, "B F"]:
        x = x.reshape(x.shape[0], -1)
        x = x if y is None else jnp.concatenate([x, y.astype(x.dtype)], axis=-1)
        for features in self.hidden:
            x = nn.tanh(Dense(features, kernel_init=GLOROT)(x))
        return x


class DenseDecoder(nn.Module):
    """tanh layers, then one linear map to `outputs` parameters for each position.

    Its bias starts at `bias`, or at zero without it.
    """

    hidden: tuple[int, ...] = (200, 200)

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "B Z"],
        positions: tuple[int, ...],
        outputs: int,
        bias: Float[Array, " biases"] | None = None,
    ) -> Float[Array, "B *positions outputs"]:
        for features in self.hidden:
            z = nn.tanh(Dense(features, kernel_init=GLOROT)(z))
        init = nn.initializers.zeros if bias is None else lambda *_: bias
        z = Dense(math.prod(positions) * outputs, kernel_init=GLOROT, bias_init=init)(z)
        return z.reshape(z.shape[0], *positions, outputs)


class ConvEncoder(nn.Module):
    """3x3 convolutions of stride 2 with elu, one for each entry of `features`; the last is flattened.

    A vector y is appended to the channels of every pixel.
    """

    features: tuple[int, ...] = (32, 64)

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], y: Float[Array, "B K"] | None = None
    ) -> Float[Array, "B F"]:
        x = x if y is None else with_planes(x, y)
        for features in self.features:
            x = nn.elu(Conv(features, (3, 3), stride=2)(x))
        return x.reshape(x.shape[0], -1)


class ConvDecoder(nn.Module):
    """A linear map to the coarsest image, transposed 4x4 convolutions of stride 2, and a 3x3 to `outputs` a pixel.

    InputError on sides that 2^len(features) does not divide.
    """

    features: tuple[int, ...] = (64, 32)

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], positions: tuple[int, ...], outputs: int
    ) -> Float[Array, "B H W outputs"]:
        factor = 2 ** len(self.features)
        if len(positions) != 2 or any(side % factor for side in positions):
            raise InputError(
                f"a convolutional decoder of {len(self.features)} layers needs images whose sides {factor} divides,"
                f" not {positions}"
            )
        height, width = (side // factor for side in positions)
        x = nn.elu(Dense(height * width * self.features[0])(z))
        x = x.reshape(z.shape[0], height, width, -1)
        for features in self.features:
            x = nn.elu(ConvTranspose(features, (4, 4), stride=2)(x))
        return Conv(outputs, (3, 3))(x)


def with_planes(
    x: Float[Array, "B *sides C"], y: Float[Array, "B K"]
) -> Float[Array, "B *sides channels"]:
    """The image or sequence with a vector appended to the channels of every place."""
    planes = y.reshape(len(y), *(1,) * (x.ndim - 2), -1).astype(x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:-1], y.shape[-1]))], axis=-1)


def require_features(
    encoder: nn.Module, features: Array, n: int, places: tuple[int, ...] = ()
) -> None:
    """InputError unless the encoder, which may be any module, gives a vector (F,) at each place of each example."""
    shape = jnp.shape(features)
    if shape[:-1] != (n, *places):
        where = "each place of each example" if places else "each example"
        asked = ", ".join(map(str, (n, *places, "F")))
        raise InputError(
            f"an encoder gives a vector for {where}, ({asked}): {type(encoder).__name__} gives {shape}"
        )


def require_outputs(
    decoder: nn.Module, out: Array, n: int, positions: tuple[int, ...], outputs: int
) -> None:
    """InputError unless the decoder, which may be any module, gives (n, *positions, outputs)."""
    shape, asked = jnp.shape(out), (n, *positions, outputs)
    if shape != asked:
        raise InputError(f"a decoder gives {asked} here: {type(decoder).__name__} gives {shape}")
