"""Uniform: log p(x) = -D log levels. Nothing is learned; VQ-VAE uses it as the prior of its codes."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gen_jax.models.autoregressive.sequence import Sequence, Time


class Uniform(Sequence):
    """Every event has the same probability; no parameters."""

    system: ClassVar[str] = "uniform"

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        return jnp.zeros((*x.shape, self.head.size))

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        return np.zeros(self.num_sites, bool)
