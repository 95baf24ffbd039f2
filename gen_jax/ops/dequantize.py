"""From integers to reals: uniform noise, and the logit that maps an interval onto the real line.

P(x) is the integral of p(x + u) over u in [0, 1)^D, so E -log p(x + u) >= -log P(x) for uniform u (Theis et al. 2015,
1511.01844, section 3.1). One level is one unit of the reals, so this needs no correction for the scale.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer


def uniform(x: Integer[Array, "*shape"], noise: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x + u with u in [0, 1): a real in [0, levels)."""
    return x.astype(noise.dtype) + noise


def cell(y: Float[Array, "*shape"], levels: int) -> Int[Array, "*shape"]:
    """The integer whose unit interval contains y; values beyond the levels give the lowest or highest level."""
    return jnp.clip(jnp.floor(y), 0, levels - 1).astype(jnp.int32)


def to_logit(
    y: Float[Array, "*shape"], levels: int, alpha: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """h = logit(alpha + (1 - 2 alpha) y / levels) and log dh/dy of each value.

    Dinh et al. 2016, 1605.08803, section 4.1, in the symmetric form of the authors' code. The real line is the image of
    an interval that exceeds [0, levels] by alpha levels / (1 - 2 alpha) on each side, so p has some mass outside.
    """
    slope = (1 - 2 * alpha) / levels
    unit = alpha + slope * y
    log, log_rest = jnp.log(unit), jnp.log1p(-unit)
    return log - log_rest, math.log(slope) - log - log_rest


def from_logit(h: Float[Array, "*shape"], levels: int, alpha: float) -> Float[Array, "*shape"]:
    """The inverse of `to_logit`."""
    return (jax.nn.sigmoid(h) - alpha) * (levels / (1 - 2 * alpha))


def to_line(
    y: Float[Array, "*shape"], levels: int, alpha: float | None, width: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """h and log dh/dy of each value: `to_logit` with `alpha`, without it h = width (y / levels - 1/2)."""
    if alpha is not None:
        return to_logit(y, levels, alpha)
    slope = width / levels
    return slope * y - width / 2, jnp.full_like(y, math.log(slope))


def from_line(
    h: Float[Array, "*shape"], levels: int, alpha: float | None, width: float
) -> Float[Array, "*shape"]:
    """The inverse of `to_line`."""
    if alpha is not None:
        return from_logit(h, levels, alpha)
    return (h + width / 2) * (levels / width)
