"""The Gaussian chain x_0 -> x_1 -> ... -> x_T: marginals, posteriors, the network's targets, steps of the sampler.

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
    """Coefficients for t = 0..T, where x_0 are the data: float64 arrays, or after `at` the entries of each example.

    q(x_{t-1} | x_t, x_0) = N(from_data x_0 + from_noisy x_t, exp(posterior)^2). At t = 1 its variance is 0; there
    `posterior` and `large` have the value of `posterior` at t = 2 (as in the code of Ho et al. 2020).
    """

    signal: Any
    noise: Any
    from_data: Any
    from_noisy: Any
    posterior: Any  # log of the standard deviation of q(x_{t-1} | x_t, x_0)
    forward: Any  # log of the standard deviation of q(x_t | x_{t-1}): sqrt(beta_t)
    large: Any  # `forward`, but at t = 1 `posterior`


def chain(alpha_bar: Float[np.ndarray, " times"]) -> Chain:
    """The chain with this alpha_bar. Any increasing times of a chain, 0 included, are a chain too."""
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
    """The entries at each example's t, shaped to broadcast over examples with `axes` - 1 axes."""
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
    """The network's target: eps, x_0, or v = signal_t eps - noise_t x_0 (Salimans and Ho 2022, 2202.00512)."""
    if predicted == "noise":
        return noise
    return x_0 if predicted == "data" else now.signal * noise - now.noise * x_0


def data_of(
    predicted: Predicted,
    now: Chain,
    output: Float[Array, "B *event"],
    x_t: Float[Array, "B *event"],
) -> Float[Array, "B *event"]:
    """The x_0 that the network's output at x_t implies."""
    if predicted == "noise":
        return (x_t - now.noise * output) / now.signal
    return output if predicted == "data" else now.signal * x_t - now.noise * output


def noise_of(
    now: Chain, x_0: Float[Array, "B *event"], x_t: Float[Array, "B *event"]
) -> Float[Array, "B *event"]:
    """The noise eps that leads from x_0 to x_t."""
    return (x_t - now.signal * x_0) / now.noise


def ddim_step(
    now: Chain,
    before: Chain,
    x_0: Float[Array, "B *event"],
    x_t: Float[Array, "B *event"],
    eta: float,
) -> tuple[Float[Array, "B *event"], Float[Array, "B ..."]]:
    """Mean and standard deviation of x_{t-1} given x_t and x_0 (Song et al. 2020, 2010.02502, equations 12 and 16).

    With any eta the marginals are q(x_t | x_0). eta = 0 adds no noise; eta = 1 draws from q(x_{t-1} | x_t, x_0).
    """
    scale = eta * before.noise / now.noise * jnp.exp(now.forward)
    rest = jnp.sqrt(jnp.maximum(before.noise**2 - scale**2, 0.0))
    return before.signal * x_0 + rest * noise_of(now, x_0, x_t), scale
