"""Gated activation unit (van den Oord et al. 2016, 1606.05328, equation 2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gated_tanh(x: Float[Array, "*batch two_F"]) -> Float[Array, "*batch F"]:
    """y = tanh(a) * sigmoid(b), where x = [a, b] along the last axis."""
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)
