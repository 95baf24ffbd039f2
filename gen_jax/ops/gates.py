"""Gated activation unit (van den Oord et al. 2016, 1606.05328, equation 2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gated_tanh(x: Float[Array, "*batch two_F"]) -> Float[Array, "*batch F"]:
    """y = tanh(a) * sigmoid(b), where x = [a, b] along the last axis."""
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def gated_linear(x: Float[Array, "*batch two_F"]) -> Float[Array, "*batch F"]:
    """y = a * sigmoid(b), where x = [a, b] along the last axis (Dauphin et al. 2016, 1612.08083, equation 1)."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * jax.nn.sigmoid(b)


def concat_elu(x: Float[Array, "*batch F"]) -> Float[Array, "*batch two_F"]:
    """[elu(x), elu(-x)] with one exponential for both (Salimans et al. 2017, after Shang et al. 2016, 1603.05201)."""
    positive = x > 0
    below = jnp.expm1(jnp.where(positive, -x, x))
    return jnp.concatenate([jnp.where(positive, x, below), jnp.where(positive, below, -x)], axis=-1)
