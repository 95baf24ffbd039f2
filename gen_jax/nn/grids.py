"""Networks from an image to a small grid of features and back (van den Oord et al. 2017, 1711.00937, section 4.1)."""

import flax.linen as nn
from jaxtyping import Array, Float

from gen_jax.nn.conv import Conv, ConvTranspose


class ResidualStack(nn.Module):
    """x + (ReLU, 3x3 to `hidden`, ReLU, 1x1 back) `blocks` times, then ReLU."""

    blocks: int
    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W F"]) -> Float[Array, "B H W F"]:
        for _ in range(self.blocks):
            h = nn.relu(Conv(self.hidden, (3, 3))(nn.relu(x)))
            x = x + Conv(x.shape[-1], (1, 1))(h)
        return nn.relu(x)


class GridEncoder(nn.Module):
    """4x4 convolutions of stride 2 and ReLU, one for each entry of `strided`; a 3x3, then residual blocks.

    With `outputs`, a 1x1 to so many features follows.
    """

    strided: tuple[int, ...] = (64, 128)
    blocks: int = 2
    hidden: int = 32
    outputs: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        for features in self.strided:
            x = nn.relu(Conv(features, (4, 4), stride=2)(x))
        x = Conv(self.strided[-1], (3, 3))(x)
        x = ResidualStack(self.blocks, self.hidden)(x)
        return x if self.outputs is None else Conv(self.outputs, (1, 1))(x)


class GridDecoder(nn.Module):
    """The reverse: a 3x3, residual blocks, and a transposed 4x4 convolution of stride 2 for each entry of `strided`."""

    strided: tuple[int, ...] = (64, 128)
    blocks: int = 2
    hidden: int = 32

    @nn.compact
    def __call__(
        self, z: Float[Array, "B h w D"], positions: tuple[int, ...], outputs: int
    ) -> Float[Array, "B H W outputs"]:
        del positions  # the caller checks them
        z = ResidualStack(self.blocks, self.hidden)(Conv(self.strided[-1], (3, 3))(z))
        for features in self.strided[-2::-1]:
            z = nn.relu(ConvTranspose(features, (4, 4), stride=2)(z))
        return ConvTranspose(outputs, (4, 4), stride=2)(z)
