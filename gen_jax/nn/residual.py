"""Networks from an image to a coarser grid of vectors and back, with residual blocks on the grid.

van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, section 4.1.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from gen_jax.nn.conv import Conv, ConvTranspose


class ResidualStack(nn.Module):
    """x + (ReLU, 3x3 to `hidden`, ReLU, 1x1 back) `blocks` times, then ReLU."""

    blocks: int
    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W F"]) -> Float[Array, "B H W F"]:
        """As many features as came in."""
        for _ in range(self.blocks):
            h = nn.relu(Conv(self.hidden, (3, 3))(nn.relu(x)))
            x = x + Conv(x.shape[-1], (1, 1))(h)
        return nn.relu(x)


class GridEncoder(nn.Module):
    """4x4 convolutions of stride 2 under ReLU, a 3x3, residual blocks, a 1x1 to the outputs."""

    strided: tuple[int, ...]
    blocks: int
    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        """The image halved once for each entry of `strided`."""
        for features in self.strided:
            x = nn.relu(Conv(features, (4, 4), stride=2)(x))
        x = Conv(self.strided[-1], (3, 3))(x)
        return Conv(self.outputs, (1, 1))(ResidualStack(self.blocks, self.hidden)(x))


class GridDecoder(nn.Module):
    """The mirror image: a 3x3, residual blocks, transposed 4x4 convolutions of stride 2, the last to the outputs."""

    strided: tuple[int, ...]
    blocks: int
    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, z: Float[Array, "B h w D"]) -> Float[Array, "B H W O"]:
        """The grid doubled once for each entry of `strided`."""
        z = ResidualStack(self.blocks, self.hidden)(Conv(self.strided[-1], (3, 3))(z))
        for features in self.strided[-2::-1]:
            z = nn.relu(ConvTranspose(features, (4, 4), stride=2)(z))
        return ConvTranspose(self.outputs, (4, 4), stride=2)(z)
