"""Gaussian with independent components, by mean and logarithm of the standard deviation; all values in nats."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def log_prob(
    x: Float[Array, "*batch"],
    mean: float | Float[Array, "..."] = 0.0,
    log_scale: float | Float[Array, "..."] = 0.0,
) -> Float[Array, "*batch"]:
    """log N(x; mean, exp(log_scale)^2) of each component; standard unless told; mean and scale broadcast."""
    standard = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * standard**2 - log_scale - 0.5 * math.log(2 * math.pi)


def sample(
    mean: Float[Array, "..."], log_scale: Float[Array, "..."], noise: Float[Array, "..."]
) -> Float[Array, "..."]:
    """mean + exp(log_scale) noise: a draw where the noise is standard normal, differentiable in both; broadcasts."""
    return mean + jnp.exp(log_scale) * noise


def kl_to_standard(
    mean: Float[Array, "*batch"], log_scale: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """KL(N(mean, s^2) || N(0, 1)) = (mean^2 + s^2 - 1) / 2 - log s of each component."""
    return 0.5 * (mean**2 + jnp.expm1(2 * log_scale)) - log_scale
