"""Discretised mixture of logistics, with one mixture indicator for all values of a site; log-probabilities in nats.

p(x) = sum_k pi_k prod_c [sigma((x_c + h - m_kc) / s_kc) - sigma((x_c - h - m_kc) / s_kc)], with levels spread over
[-1, 1], half a bin h = 1 / (levels - 1), open outer bins, and means that are linear in the site's earlier values
(Salimans, Karpathy, Chen and Kingma 2017, 1701.05517, equations 2 and 3). The masses sum to 1, by the exact identity
log(sigma(a) - sigma(b)) = log sigma(a) + log sigma(-b) + log(1 - exp(b - a)).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from gen_jax.ops import categorical
from gen_jax.ops.scaling import to_symmetric

MIN_LOG_SCALE = -7.0


class Mixture(NamedTuple):
    """Normalised log-weights, means without their linear terms, log-scales, a coefficient for each pair of values."""

    log_weights: Float[Array, "*batch K"]
    means: Float[Array, "*batch V K"]
    log_scales: Float[Array, "*batch V K"]
    coefficients: Float[Array, "*batch pairs K"]


def split(params: Float[Array, "*batch P"], values: int, mixtures: int) -> Mixture:
    """K logits, V x K means, V x K log-scales, then coefficients (under tanh) of values (1, 0), (2, 0), (2, 1), ..."""
    params = params.astype(jnp.promote_types(params.dtype, jnp.float32))
    parts = params.reshape(*params.shape[:-1], -1, mixtures)
    return Mixture(
        jax.nn.log_softmax(parts[..., 0, :]),
        parts[..., 1 : 1 + values, :],
        jnp.maximum(parts[..., 1 + values : 1 + 2 * values, :], MIN_LOG_SCALE),
        jnp.tanh(parts[..., 1 + 2 * values :, :]),
    )


def mean(
    mixture: Mixture, value: int, previous: Integer[Array, "*batch V"], levels: int
) -> Float[Array, "*batch K"]:
    """m_kc plus coefficients times scaled earlier values; entries of `previous` from `value` on are not read."""
    m = mixture.means[..., value, :]
    scaled = to_symmetric(previous, levels)
    first = value * (value - 1) // 2
    for earlier in range(value):
        m = m + mixture.coefficients[..., first + earlier, :] * scaled[..., earlier, None]
    return m


def log_mass(
    x: Integer[Array, "..."], m: Float[Array, "..."], log_scale: Float[Array, "..."], levels: int
) -> Float[Array, "..."]:
    """log of the mass of a logistic in the bin of level x; the outer bins reach to infinity. Shapes broadcast."""
    half = 1.0 / (levels - 1)
    inverse = jnp.exp(-log_scale)
    centred = to_symmetric(x, levels) - m
    upper, lower = (centred + half) * inverse, (centred - half) * inverse
    log_width = jnp.log(2 * half) - log_scale  # a - b = width; log(1 - e^-w) -> log w for small w
    narrow = log_width < -8.0
    width = jnp.exp(jnp.where(narrow, 0.0, log_width))
    between = jnp.where(narrow, log_width - 0.5 * jnp.exp(log_width), jnp.log(-jnp.expm1(-width)))
    first, last = x == 0, x == levels - 1
    below = jnp.where(last, 0.0, jax.nn.log_sigmoid(upper))
    above = jnp.where(first, 0.0, jax.nn.log_sigmoid(-lower))
    return below + above + jnp.where(first | last, 0.0, between)


def masses(
    m: Float[Array, "*batch"], log_scale: Float[Array, "*batch"], levels: int
) -> Float[Array, "*batch levels"]:
    """exp(log_mass) of all levels at once: sigma(a) sigma(-b) (1 - exp(b - a)); all inner bins share the last factor.

    This takes two sigmoids for each edge between levels, and no logarithms.
    """
    half = 1.0 / (levels - 1)
    edges = to_symmetric(jnp.arange(levels - 1), levels) + half
    scaled = (edges - m[..., None]) * jnp.exp(-log_scale)[..., None]
    edge, inner = jnp.ones_like(scaled[..., :1]), jnp.ones_like(scaled[..., 1:])
    width = -jnp.expm1(-jnp.exp(jnp.log(2 * half) - log_scale))[..., None]
    below = jnp.concatenate([jax.nn.sigmoid(scaled), edge], axis=-1)
    above = jnp.concatenate([edge, jax.nn.sigmoid(-scaled)], axis=-1)
    return below * above * jnp.concatenate([edge, width * inner, edge], axis=-1)


def log_prob(
    params: Float[Array, "*batch P"], x: Integer[Array, "*batch V"], levels: int, mixtures: int
) -> Float[Array, "*batch"]:
    """log p(x) of all values of a site."""
    mixture = split(params, x.shape[-1], mixtures)
    total = mixture.log_weights
    for c in range(x.shape[-1]):
        m = mean(mixture, c, x, levels)
        total = total + log_mass(x[..., c, None], m, mixture.log_scales[..., c, :], levels)
    return jax.nn.logsumexp(total, axis=-1)


def conditional(
    params: Float[Array, "*batch P"],
    value: int,
    previous: Integer[Array, "*batch V"],
    levels: int,
    mixtures: int,
) -> Float[Array, "*batch levels"]:
    """p(x_value = . | x_<value): the mixture, weighted by its responsibilities for the earlier values."""
    mixture = split(params, previous.shape[-1], mixtures)
    weights = mixture.log_weights
    for c in range(value):
        m = mean(mixture, c, previous, levels)
        weights = weights + log_mass(
            previous[..., c, None], m, mixture.log_scales[..., c, :], levels
        )
    m = mean(mixture, value, previous, levels)
    mass = masses(m, mixture.log_scales[..., value, :], levels)
    return jnp.sum(jax.nn.softmax(weights)[..., None] * mass, axis=-2)


def sample(
    params: Float[Array, "*batch P"],
    key: Key[Array, ""],
    levels: int,
    values: int,
    mixtures: int,
    temperature: float | Float[Array, ""] = 1.0,
) -> Integer[Array, "*batch V"]:
    """Draw an indicator, then each value in turn, rounded to its level before the next one's mean reads it.

    The temperature divides the logits and multiplies the scales.
    """
    mixture = split(params, values, mixtures)
    pick, noise = jax.random.split(key)
    indicator = categorical.sample(mixture.log_weights, pick, temperature)
    chosen = jax.tree.map(
        lambda part: jnp.take_along_axis(part, indicator[..., None, None], axis=-1),
        mixture._replace(log_weights=mixture.log_weights[..., None, :]),
    )
    shape = (*indicator.shape, values)
    logistic = jax.random.logistic(noise, shape, mixture.means.dtype) * temperature
    x = jnp.zeros(shape, jnp.int32)
    for c in range(values):
        m = mean(chosen, c, x, levels)[..., 0]
        draw = m + jnp.exp(chosen.log_scales[..., c, 0]) * logistic[..., c]
        level = jnp.round((jnp.clip(draw, -1.0, 1.0) + 1.0) * (0.5 * (levels - 1)))
        x = x.at[..., c].set(level.astype(jnp.int32))
    return x
