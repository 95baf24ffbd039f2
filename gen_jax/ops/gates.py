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
    """elu([x, -x]) (Salimans et al. 2017, 1701.05517; after Shang et al. 2016, 1603.05201)."""
    return jax.nn.elu(jnp.concatenate([x, -x], axis=-1))
