"""Networks that make the parameters of a coupling from what it keeps; their outputs begin at zero."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_jax.nn.shifted_conv import Project, WeightNorm
from gen_jax.ops.conv import same_conv


class MLP(nn.Module):
    """Dense layers under silu."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "B I"], outputs: int) -> Float[Array, "B outputs"]:
        """One linear map after the last hidden layer."""
        for features in self.hidden:
            x = nn.silu(nn.Dense(features)(x))
        return nn.Dense(outputs, kernel_init=nn.initializers.zeros)(x)


class Conv3x3(WeightNorm):
    """Weight-normalised 3x3 convolution."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        """All sites at once."""
        kernel, bias = self.weights(
            (3, 3, x.shape[-1], self.features), lambda kernel: same_conv(x, kernel)
        )
        return same_conv(x, kernel) + bias


class ResNet(nn.Module):
    """Weight-normalised residual blocks of two 3x3 convolutions; their outputs all add to what the last layer reads.

    Dinh et al. 2016, 1605.08803, section 3.7, without batch normalisation inside: weights are initialised by the data.
    """

    features: int
    blocks: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"], outputs: int) -> Float[Array, "B H W outputs"]:
        """Input, its negative and their rectification first, a 1x1 convolution last."""
        x = Conv3x3(self.features)(nn.relu(jnp.concatenate([x, -x], axis=-1)))
        skip = Project(self.features)(x)
        for _ in range(self.blocks):
            h = Conv3x3(self.features)(nn.relu(x))
            x = x + Conv3x3(self.features)(nn.relu(h))
            skip = skip + Project(self.features)(x)
        return Project(outputs, init_scale=0.0)(nn.relu(skip))
