"""The bound of importance sampling, log p(x) >= E log (1/K sum_k w_k).

(Burda, Grosse and Salakhutdinov 2015, 1509.00519.)
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.typing import Nats


def importance_weighted_bound(log_weights: Float[Array, "K B"]) -> Nats:
    """log (1/K sum_k w_k), a lower bound of log p that grows with K (Burda et al. 2015, 1509.00519, eq. 8)."""
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])


def normalised_weights(log_weights: Float[Array, "K B"]) -> Float[Array, "K B"]:
    """w_k / sum_j w_j."""
    return jax.nn.softmax(log_weights, axis=0)


def leave_one_out_baselines(log_weights: Float[Array, "K B"]) -> Float[Array, "K B"]:
    """For each k the bound with log w_k replaced by the mean of the other logs, so that it does not depend on draw k.

    (Mnih and Rezende 2016, 1602.06725, equation 8.) Each is a logsumexp over a row of a K x K matrix: subtracting one
    term from the sum of weights would cancel where that term dominates.
    """
    draws = len(log_weights)
    others = (jnp.sum(log_weights, axis=0) - log_weights) / (draws - 1)
    own = jnp.eye(draws, dtype=bool)[..., None]
    replaced = jnp.where(own, others[:, None], log_weights[None])  # row k: draw k replaced
    return jax.nn.logsumexp(replaced, axis=1) - math.log(draws)


def importance_weighted_bound_in_chunks(
    log_weights: Callable[[Int[Array, " k"]], Float[Array, "k B"]], draws: int, chunk: int
) -> Nats:
    """`importance_weighted_bound` of the draws 0, ..., `draws` - 1; the noise does not depend on `chunk`."""
    chunk = min(chunk, draws)

    def total(first: Int[Array, ""]) -> Nats:
        number = first + jnp.arange(chunk)
        counted = jnp.where((number < draws)[:, None], log_weights(number), -jnp.inf)
        return jax.nn.logsumexp(counted, axis=0)

    return jax.nn.logsumexp(lax.map(total, jnp.arange(0, draws, chunk)), axis=0) - math.log(draws)


def mean_in_chunks(
    log_p: Callable[[Int[Array, " k"]], Float[Array, "k B"]], draws: int, chunk: int
) -> Nats:
    """1/K sum_k log p_k of the draws 0, ..., `draws` - 1, for estimates of log p whose exponential is biased."""
    chunk = min(chunk, draws)

    def total(first: Int[Array, ""]) -> Nats:
        number = first + jnp.arange(chunk)
        return jnp.sum(jnp.where((number < draws)[:, None], log_p(number), 0.0), axis=0)

    return jnp.sum(lax.map(total, jnp.arange(0, draws, chunk)), axis=0) / draws
