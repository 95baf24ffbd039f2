"""Fully visible sigmoid belief net: p(x_i = 1 | x_<i) = sigma(b_i + sum_{j<i} W_ij x_j) (Neal 1992; Frey 1998).

n (n + 1) / 2 free parameters.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.check import require
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.ops.convolution import gathered


class FVSBN(Sequence):
    """Logistic regression of every binary value on all values before it; the triangle of W is stored as a vector."""

    system: ClassVar[str] = "fvsbn"

    @nn.compact
    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites 1"]:
        self.check()
        n = self.event.size
        packed = gathered(self.param("kernel", nn.initializers.zeros, (n * (n - 1) // 2,)))
        bias = self.param("bias", nn.initializers.zeros, (n,))
        x = x.astype(bias.dtype)
        if time is None:
            kernel = jnp.zeros((n, n), packed.dtype).at[np.tril_indices(n, -1)].set(packed)
            return (x @ kernel.T + bias)[..., None]
        values = self.variable("cache", "values", jnp.zeros, (x.shape[0], n), x.dtype)
        values.value = lax.dynamic_update_slice_in_dim(values.value, x[:, None], time - 1, axis=1)
        row = lax.dynamic_slice_in_dim(jnp.pad(packed, (0, n)), time * (time - 1) // 2, n)
        row = jnp.where(jnp.arange(n) < time, row, 0)
        return (values.value @ row + bias[time])[:, None]

    def check(self) -> None:
        require(
            self.levels == 2,
            f"fvsbn is a model of binary events, this one has {self.levels} levels",
        )
