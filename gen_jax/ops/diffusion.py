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
    """Coefficients for t = 0..T, where x_0 are the data: whole arrays, or after `at` the entries of each example.

    `time` is what the network is given as the time of x_t.
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
    time: Any


def chain(
    alpha_bar: Float[np.ndarray, " times"], time: Int[np.ndarray, " times"] | None = None
) -> Chain:
    """The chain with this alpha_bar. Any increasing times of a chain, 0 included, are a chain too.

    `time`: by default t itself.
    """
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
    time = np.arange(len(alpha_bar)) if time is None else time
    begun = [np.concatenate([[0.0], values]) for values in steps]
    return Chain(*marginals, *begun, time=time)


def chain_of(gamma: Float[Array, " T"], time: Float[Array, " T"]) -> Chain:
    """The chain x_0, ..., x_T with log noise_t^2 / signal_t^2 = gamma_t, which increases, in the type of gamma.

    With d = gamma_t - gamma_{t-1} the variance of q(x_t | x_{t-1}) is noise_t^2 (1 - exp(-d)), that of
    q(x_{t-1} | x_t, x_0) is noise_{t-1}^2 (1 - exp(-d)); no nearly equal numbers are subtracted.
    """
    log_signal, log_noise = (0.5 * jax.nn.log_sigmoid(sign * gamma) for sign in (-1, 1))
    signal, noise = jnp.exp(log_signal), jnp.exp(log_noise)
    kept = gamma[:-1] - gamma[1:]  # log of the share of SNR_{t-1} that x_t keeps
    left = 0.5 * jnp.log(-jnp.expm1(kept))
    from_data = signal[:-1] * -jnp.expm1(kept)
    from_noisy = jnp.exp(log_signal[:-1] - log_signal[1:] + kept)
    posterior, forward = log_noise[:-1] + left, log_noise[1:] + left

    def after(first: tuple[Any, ...], rest: Float[Array, " n"]) -> Float[Array, " times"]:
        return jnp.concatenate([jnp.stack([jnp.asarray(x, rest.dtype) for x in first]), rest])

    return Chain(
        signal=after((1.0,), signal),
        noise=after((0.0,), noise),
        from_data=after((0.0, 1.0), from_data),
        from_noisy=after((0.0, 0.0), from_noisy),
        posterior=after((0.0, posterior[0]), posterior),
        forward=after((0.0, log_noise[0]), forward),
        large=after((0.0, posterior[0]), forward),
        time=after((time[0],), time),
    )


def at(chain: Chain, t: Int[Array, " B"], axes: int) -> Chain:
    """The entries at each example's t, shaped to broadcast over examples with `axes` - 1 axes."""
    shape = (-1, *(1,) * (axes - 1))

    def entry(values: Any) -> Array:
        dtype = jnp.result_type(float if jnp.issubdtype(values.dtype, jnp.floating) else int)
        return jnp.asarray(values, dtype)[t].reshape(shape)

    return jax.tree.map(entry, chain)


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


def noise_from(
    predicted: Predicted,
    now: Chain,
    output: Float[Array, "B *event"],
    x_t: Float[Array, "B *event"],
) -> Float[Array, "B *event"]:
    """The noise eps that the network's output at x_t implies."""
    if predicted == "noise":
        return output
    return (
        noise_of(now, output, x_t) if predicted == "data" else now.signal * output + now.noise * x_t
    )


def even_in_log_snr(alpha_bar: Float[np.ndarray, " all"], steps: int) -> Int[np.ndarray, " times"]:
    """0 and `steps` different times of 1..T, from 1 to T as evenly spread in log SNR as whole numbers can be."""
    last = len(alpha_bar) - 1
    fall = np.log1p(-alpha_bar[1:]) - np.log(alpha_bar[1:])
    even = np.interp(np.linspace(fall[-1], fall[0], steps)[::-1], fall, np.arange(1, last + 1))
    number = np.arange(1, steps + 1)
    times = np.clip(np.round(even).astype(np.int32), number, last - steps + number)
    return np.append(0, np.maximum.accumulate(times - number) + number)


def extrapolation(chain: Chain) -> Float[np.ndarray, " times"]:
    """h_i / (2 h_{i+1}), where h_i is the rise of log signal / noise in the step from time i to i - 1.

    With the estimates x_0 at times i and i + 1, x_0(i) + weight (x_0(i) - x_0(i + 1)) is linear in log SNR, and a step
    of DDIM without noise with it has an error of order h^3 (Lu et al. 2022, 2211.01095, algorithm 2). The weight is 0
    in the first step, before which there is no estimate, and in the last, whose h is infinite.
    """
    half = np.log(chain.signal[1:]) - np.log(chain.noise[1:])
    rise = half[:-1] - half[1:]
    inner = rise[:-1] / (2 * rise[1:])
    return np.concatenate([[0.0, 0.0], inner, [0.0]])[: len(chain.signal)]


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
