"""Batch normalisation with its running statistics in the collection `batch_stats`."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-5


class BatchNorm(nn.Module):
    """y = scale (x - m) / sqrt(v + 1e-5) + bias, m and v of each feature over all else.

    In training m and v are the batch's own and move the running ones by 1 - `decay`; else they are the running ones.
    With `decay` None none are kept, and every batch has its own. Under `jax.jit` the batch is the global one, under
    pmap each device's rows (Ioffe and Szegedy 2015, 1502.03167, algorithm 1).
    """

    decay: float | None = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "*batch F"], train: bool) -> Float[Array, "*batch F"]:
        """Normalise each feature."""
        features, around = x.shape[-1:], tuple(range(x.ndim - 1))
        scale = self.param("scale", nn.initializers.ones, features)
        bias = self.param("bias", nn.initializers.zeros, features)
        own = jnp.mean(x, axis=around), jnp.var(x, axis=around)
        mean, var = own
        if self.decay is not None:
            running = (
                self.variable("batch_stats", "mean", jnp.zeros, features),
                self.variable("batch_stats", "var", jnp.ones, features),
            )
            if not train:
                mean, var = (one.value for one in running)
            elif not self.is_initializing():
                for old, new in zip(running, own, strict=True):
                    old.value = self.decay * old.value + (1.0 - self.decay) * new
        return (x - mean) * jnp.sqrt(var + EPSILON) ** -1 * scale + bias
