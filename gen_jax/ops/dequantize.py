"""Between integers and reals: uniform noise, and the logit that maps an interval onto the real line.

P(x) = integral of p(x + u) over u in [0, 1)^D, so -log p(x + u) of one draw bounds -log P(x) from above on average
(Theis et al. 2015, 1511.01844, section 3.1). Densities are of reals in units of one level: nothing has to be added.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer


def uniform(x: Integer[Array, "*shape"], noise: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x + u with u in [0, 1): a real in [0, levels)."""
    return x.astype(noise.dtype) + noise


def cell(y: Float[Array, "*shape"], levels: int) -> Int[Array, "*shape"]:
    """The integer whose unit interval y lies in; the lowest and the highest level take all beyond them."""
    return jnp.clip(jnp.floor(y), 0, levels - 1).astype(jnp.int32)


def to_logit(
    y: Float[Array, "*shape"], levels: int, alpha: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """h = logit(alpha + (1 - 2 alpha) y / levels) and log dh/dy of each value.

    Dinh et al. 2016, 1605.08803, section 4.1, in the symmetric form of the authors' code. All reals come from y between
    -alpha levels / (1 - 2 alpha) and levels plus as much, so p has some mass outside [0, levels].
    """
    slope = (1 - 2 * alpha) / levels
    unit = alpha + slope * y
    log, log_rest = jnp.log(unit), jnp.log1p(-unit)
    return log - log_rest, math.log(slope) - log - log_rest


def from_logit(h: Float[Array, "*shape"], levels: int, alpha: float) -> Float[Array, "*shape"]:
    """The inverse of `to_logit`."""
    return (jax.nn.sigmoid(h) - alpha) * (levels / (1 - 2 * alpha))
