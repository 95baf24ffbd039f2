"""Gated activation units (van den Oord et al. 2016, 1606.05328, equation 2) and concatenated elu."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Halves = tuple[Float[Array, "*batch F"], Float[Array, "*batch F"]]


def gated_tanh(
    x: Float[Array, "*batch two_F"], terms: Halves | None = None
) -> Float[Array, "*batch F"]:
    """y = tanh(a) * sigmoid(b), where x = [a, b] along the last axis; `terms` are added to a and b."""
    a, b = jnp.split(x, 2, axis=-1)
    if terms is not None:
        a, b = a + terms[0], b + terms[1]
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def gated_linear(x: Float[Array, "*batch two_F"]) -> Float[Array, "*batch F"]:
    """y = a * sigmoid(b), where x = [a, b] (Dauphin et al. 2016, 1612.08083, equation 1)."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * jax.nn.sigmoid(b)


def concat_elu(x: Float[Array, "*batch F"]) -> Float[Array, "*batch two_F"]:
    """[elu(x), elu(-x)] with one exponential for both (Salimans et al. 2017, after Shang et al. 2016, 1603.05201)."""
    positive = x > 0
    below = jnp.expm1(jnp.where(positive, -x, x))
    return jnp.concatenate([jnp.where(positive, x, below), jnp.where(positive, below, -x)], axis=-1)
