"""Affine coupling: the values under the mask are kept, the others scaled and shifted (Dinh et al. 2016, 1605.08803)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gen_jax.ops.masks import AnyArray
from gen_jax.typing import Nats


def affine_coupling(
    x: Float[Array, "B *event"],
    mask: Bool[AnyArray, "*event"],
    shift: Float[Array, "B *event"],
    log_scale: Float[Array, "B *event"],
) -> tuple[Float[Array, "B *event"], Nats]:
    """y = x where the mask holds, else x exp(log_scale) + shift, and log |det dy/dx| (equations 7 and 8).

    The log-determinant is the sum of log_scale over the other values, if shift and log_scale depend on the kept values
    of x only.
    """
    y = jnp.where(mask, x, x * jnp.exp(log_scale) + shift)
    return y, jnp.sum(jnp.where(mask, 0.0, log_scale).reshape(len(x), -1), axis=-1)


def inverse_affine_coupling(
    y: Float[Array, "B *event"],
    mask: Bool[AnyArray, "*event"],
    shift: Float[Array, "B *event"],
    log_scale: Float[Array, "B *event"],
) -> Float[Array, "B *event"]:
    """x = y where the mask holds, else (y - shift) exp(-log_scale)."""
    return jnp.where(mask, y, (y - shift) * jnp.exp(-log_scale))
