"""Networks from an image or a sequence to a small grid of features and back.

van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, sections 4.1 and 4.3. The windows have as many axes as the
input: what is 4x4 below is 4 in a sequence.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.encoders import with_planes


class ResidualStack(nn.Module):
    """x + (ReLU, 3x3 to `hidden`, ReLU, 1x1 back) `blocks` times, then ReLU."""

    blocks: int
    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "B *sides F"]) -> Float[Array, "B *sides F"]:
        axes = x.ndim - 2
        for _ in range(self.blocks):
            h = nn.relu(Conv(self.hidden, (3,) * axes)(nn.relu(x)))
            x = x + Conv(x.shape[-1], (1,) * axes)(h)
        return nn.relu(x)


class GridEncoder(nn.Module):
    """4x4 convolutions of stride 2 and ReLU, one for each entry of `strided`; a 3x3, then residual blocks.

    With `outputs`, a 1x1 to so many features follows. A vector y is appended to the channels of every place.
    """

    strided: tuple[int, ...] = (64, 128)
    blocks: int = 2
    hidden: int = 32
    outputs: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B *sides C"], y: Float[Array, "B K"] | None = None
    ) -> Float[Array, "B *grid O"]:
        x = x if y is None else with_planes(x, y)
        axes = x.ndim - 2
        for features in self.strided:
            x = nn.relu(Conv(features, (4,) * axes, stride=2)(x))
        x = Conv(self.strided[-1], (3,) * axes)(x)
        x = ResidualStack(self.blocks, self.hidden)(x)
        return x if self.outputs is None else Conv(self.outputs, (1,) * axes)(x)


class GridDecoder(nn.Module):
    """The reverse: a 3x3, residual blocks, and a transposed 4x4 convolution of stride 2 for each entry of `strided`."""

    strided: tuple[int, ...] = (64, 128)
    blocks: int = 2
    hidden: int = 32

    @nn.compact
    def __call__(
        self, z: Float[Array, "B *grid D"], positions: tuple[int, ...], outputs: int
    ) -> Float[Array, "B *sides outputs"]:
        del positions  # the caller checks them
        axes = z.ndim - 2
        z = ResidualStack(self.blocks, self.hidden)(Conv(self.strided[-1], (3,) * axes)(z))
        for features in self.strided[-2::-1]:
            z = nn.relu(ConvTranspose(features, (4,) * axes, stride=2)(z))
        return ConvTranspose(outputs, (4,) * axes, stride=2)(z)
