"""The Gaussian chain x_0 -> x_1 -> ... -> x_T: marginals, posteriors, what a network may predict, steps back.

q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t), so q(x_t | x_0) = N(signal_t x_0, noise_t^2) with signal_t^2 =
alpha_bar_t = 1 - noise_t^2 (Ho, Jain and Abbeel 2020, 2006.11239, equations 2 and 4).
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Predicted = Literal["noise", "data", "velocity"]


class Chain(NamedTuple):
    """Coefficients by t, entry 0 about the data: float64 arrays, or after `at` those of each example.

    q(x_{t-1} | x_t, x_0) = N(from_data x_0 + from_noisy x_t, exp(posterior)^2). At t = 1 it is a point; `posterior` and
    `large` have their value at t = 2 there instead (Ho et al. 2020, their code).
    """

    signal: Any
    noise: Any
    from_data: Any
    from_noisy: Any
    posterior: Any
    forward: Any  # log of the standard deviation of q(x_t | x_{t-1})
    large: Any


def chain(alpha_bar: Float[np.ndarray, " times"]) -> Chain:
    """The chain with these shares of signal; any increasing choice of times of a chain is a chain."""
    before, now = alpha_bar[:-1], alpha_bar[1:]
    beta = 1 - now / before
    variance = (1 - before) / (1 - now) * beta
    variance[0] = variance[1] if len(beta) > 1 else beta[0]
    posterior, forward = 0.5 * np.log(variance), 0.5 * np.log(beta)
    large = np.concatenate([posterior[:1], forward[1:]])
    from_data = np.sqrt(before) * beta / (1 - now)
    from_noisy = np.sqrt(1 - beta) * (1 - before) / (1 - now)
    steps = (from_data, from_noisy, posterior, forward, large)
    marginals = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    return Chain(*marginals, *(np.concatenate([[0.0], values]) for values in steps))


def at(chain: Chain, t: Int[Array, " B"], axes: int) -> Chain:
    """The entries of each example's t, broadcast over all but the first of `axes` axes."""
    dtype = jnp.result_type(float)
    shape = (-1, *(1,) * (axes - 1))
    return jax.tree.map(lambda values: jnp.asarray(values, dtype)[t].reshape(shape), chain)


def diffused(
    now: Chain, x_0: Float[Array, "B *event"], noise: Float[Array, "B *event"]
) -> Float[Array, "B *event"]:
    """x_t from q(x_t | x_0)."""
    return now.signal * x_0 + now.noise * noise


def posterior_mean(
    now: Chain, x_0: Float[Array, "B *event"], x_t: Float[Array, "B *event"]
) -> Float[Array, "B *event"]:
    """The mean of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, equation 7)."""
    return now.from_data * x_0 + now.from_noisy * x_t


def target(
    predicted: Predicted, now: Chain, x_0: Float[Array, "B *event"], noise: Float[Array, "B *event"]
) -> Float[Array, "B *event"]:
    """The target of the network: noise, x_0 or signal noise - noise_t x_0 (Salimans and Ho 2022, 2202.00512)."""
    if predicted == "noise":
        return noise
    return x_0 if predicted == "data" else now.signal * noise - now.noise * x_0


def data_of(
    predicted: Predicted,
    now: Chain,
    output: Float[Array, "B *event"],
    x_t: Float[Array, "B *event"],
) -> Float[Array, "B *event"]:
    """x_0 from the output of the network at x_t."""
    if predicted == "noise":
        return (x_t - now.noise * output) / now.signal
    return output if predicted == "data" else now.signal * x_t - now.noise * output


def noise_of(
    now: Chain, x_0: Float[Array, "B *event"], x_t: Float[Array, "B *event"]
) -> Float[Array, "B *event"]:
    """The noise between x_0 and x_t."""
    return (x_t - now.signal * x_0) / now.noise


def ddim_step(
    now: Chain,
    before: Chain,
    x_0: Float[Array, "B *event"],
    x_t: Float[Array, "B *event"],
    eta: float,
) -> tuple[Float[Array, "B *event"], Float[Array, "B ..."]]:
    """Mean and standard deviation of x_{t-1} given x_t and x_0 (Song et al. 2020, 2010.02502, equations 12 and 16).

    All eta have the marginals q(x_t | x_0); eta = 0 adds no noise, eta = 1 is q(x_{t-1} | x_t, x_0).
    """
    scale = eta * before.noise / now.noise * jnp.exp(now.forward)
    rest = jnp.sqrt(jnp.maximum(before.noise**2 - scale**2, 0.0))
    return before.signal * x_0 + rest * noise_of(now, x_0, x_t), scale
