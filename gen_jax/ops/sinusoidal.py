"""Sinusoids of many frequencies, by which a network reads a number such as a time."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def sinusoidal(x: Num[Array, "*batch"], size: int) -> Float[Array, "*batch size"]:
    """sin(x f_i), then cos(x f_i), with f_i from 1 to 1/10,000 in equal ratios, and a 0 at the end if `size` is odd.

    This is the form in the code of Ho et al. 2020 (2006.11239). Vaswani et al. 2017 (1706.03762) interleave sines and
    cosines, and their last frequency is slightly above 1/10,000.
    """
    half = size // 2
    rates = jnp.exp(jnp.arange(half) * (-math.log(10_000) / max(half - 1, 1)))
    angles = x[..., None].astype(rates.dtype) * rates
    parts = [jnp.sin(angles), jnp.cos(angles), jnp.zeros((*x.shape, size % 2), rates.dtype)]
    return jnp.concatenate(parts, axis=-1)
