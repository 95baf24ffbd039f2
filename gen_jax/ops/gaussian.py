"""Gaussian with independent components, given by mean and log of the standard deviation; log-probabilities in nats."""

import math

import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtri
from jaxtyping import Array, Float, Integer

from gen_jax.ops.scaling import to_symmetric


def log_prob(
    x: Float[Array, "*batch"],
    mean: float | Float[Array, "..."] = 0.0,
    log_scale: float | Float[Array, "..."] = 0.0,
) -> Float[Array, "*batch"]:
    """log N(x; mean, exp(log_scale)^2) of each component, by default log N(x; 0, 1); mean and scale broadcast."""
    standard = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * standard**2 - log_scale - 0.5 * math.log(2 * math.pi)


def sample(
    mean: float | Float[Array, "..."],
    log_scale: float | Float[Array, "..."],
    noise: Float[Array, "..."],
) -> Float[Array, "..."]:
    """mean + exp(log_scale) noise: with standard normal noise a draw, differentiable in mean and scale."""
    return mean + jnp.exp(log_scale) * noise


def kl_to_standard(
    mean: Float[Array, "*batch"], log_scale: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """KL(N(mean, s^2) || N(0, 1)) = (mean^2 + s^2 - 1) / 2 - log s of each component."""
    return 0.5 * (mean**2 + jnp.expm1(2 * log_scale)) - log_scale


def kl(
    mean: Float[Array, "..."],
    log_scale: Float[Array, "..."],
    other_mean: float | Float[Array, "..."],
    other_log_scale: float | Float[Array, "..."],
) -> Float[Array, "..."]:
    """KL(N(mean, s^2) || N(other_mean, other_s^2)) of each component; all four broadcast."""
    wider = log_scale - other_log_scale
    apart = (mean - other_mean) * jnp.exp(-other_log_scale)
    return 0.5 * (jnp.expm1(2 * wider) + apart**2) - wider


def quantiles(count: int) -> Float[Array, " count"]:
    """The values z_i of a standard normal variable with P(z < z_i) = (i + 1/2) / count, from low to high.

    They are the middles of `count` intervals of equal probability.
    """
    return ndtri((jnp.arange(count) + 0.5) / count)


def log_mass(
    x: Integer[Array, "*batch"],
    mean: Float[Array, "..."],
    log_scale: Float[Array, "..."],
    levels: int,
) -> Float[Array, "*batch"]:
    """Log of the mass of N(mean, s^2) in the bin of level x, levels spread over [-1, 1]; the outer bins are open.

    (Ho, Jain and Abbeel 2020, 2006.11239, equation 13.) A bin above the mean is mirrored at the mean. Both edges then
    lie in the lower tail, where log Phi is accurate, so bins far from the mean have finite logs and gradients.
    """
    centre, half = to_symmetric(x, levels), 1.0 / (levels - 1)
    lower = (centre - half - mean) * jnp.exp(-log_scale)
    upper = (centre + half - mean) * jnp.exp(-log_scale)
    mirrored = lower + upper > 0
    far = log_ndtr(jnp.where(mirrored, -upper, lower))
    near = log_ndtr(jnp.where(mirrored, -lower, upper))
    inner = near + jnp.log(-jnp.expm1(far - near))
    edge = log_ndtr(jnp.where(x == 0, upper, -lower))
    return jnp.where((x == 0) | (x == levels - 1), edge, inner)
