"""Self-attention over all sites of an image: y = x + W mean of values, one head of all features.

(Ho, Jain and Abbeel 2020, 2006.11239, appendix B.) The last map begins at zero.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from gen_jax.nn.conv import Dense
from gen_jax.nn.time_block import EPSILON, GLOROT, ZEROS
from gen_jax.ops.attention import full_attention
from gen_jax.typing import Dtype


class SelfAttention(nn.Module):
    """Every site reads every other."""

    groups: int = 32
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W F"]) -> Float[Array, "B H W F"]:
        """All sites at once."""
        F, dtype = x.shape[-1], self.dtype
        h = nn.GroupNorm(self.groups, epsilon=EPSILON, dtype=dtype)(x).reshape(x.shape[0], -1, F)
        query, key, value = (
            Dense(F, dtype=dtype, kernel_init=GLOROT, name=name)(h)
            for name in ("query", "key", "value")
        )
        mean = full_attention(query, key, value).reshape(x.shape)
        return x + Dense(F, dtype=dtype, kernel_init=ZEROS, name="out")(mean)
