"""What a network that knows its time t is made of: the embedding of t, and a residual block that reads it.

h = conv(silu(norm(x))) + W silu(time); y = x + conv(drop(silu(norm(h)))) (Ho, Jain and Abbeel 2020, 2006.11239,
appendix B; sizes and initialisation of their code). The last convolution begins at zero.
"""

import flax.linen as nn
from jaxtyping import Array, Float, Num

from gen_jax.nn.conv import Conv, Dense
from gen_jax.ops.sinusoidal import sinusoidal
from gen_jax.typing import Dtype

GLOROT, ZEROS = nn.initializers.glorot_uniform(), nn.initializers.zeros
EPSILON = 1e-6  # of a group's variance


class TimeEmbedding(nn.Module):
    """Sinusoids of t, then two dense layers of 4 x `features`."""

    features: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, t: Num[Array, " B"]) -> Float[Array, "B F"]:
        """One vector for each t."""
        h = sinusoidal(t, self.features)
        h = nn.Dense(4 * self.features, dtype=self.dtype, kernel_init=GLOROT)(h)
        return nn.Dense(4 * self.features, dtype=self.dtype, kernel_init=GLOROT)(nn.silu(h))


class TimeBlock(nn.Module):
    """Two 3x3 convolutions to `features`; where those are not the input's, a 1x1 map on the way around."""

    features: int
    groups: int = 32
    dropout: float = 0.0
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W I"], time: Float[Array, "B T"], train: bool = False
    ) -> Float[Array, "B H W F"]:
        """All sites at once."""
        F, dtype = self.features, self.dtype
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=EPSILON, dtype=dtype)(x))
        h = Conv(F, (3, 3), dtype=dtype, kernel_init=GLOROT)(h)
        h = h + nn.Dense(F, dtype=dtype, kernel_init=GLOROT)(nn.silu(time))[:, None, None]
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=EPSILON, dtype=dtype)(h))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = Conv(F, (3, 3), dtype=dtype, kernel_init=ZEROS)(h)
        if x.shape[-1] != F:
            x = Dense(F, dtype=dtype, kernel_init=GLOROT)(x)
        return x + h
