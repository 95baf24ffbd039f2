"""The laws of a diffusion's bound, which is a sum of terms: log p(x) >= -L = -sum_t L_t.

A trajectory x_1, ..., x_T from q has the log-weight log p(x_{0:T}) - log q(x_{1:T} | x_0). Its mean is also -L, but
other code computes it, with another order of draws. The mean of its exponential is p(x).
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.conditions import rows_of
from gen_jax.density import bits_per_dim, fold_in, root_key
from gen_jax.laws import bound
from gen_jax.laws.row import ERRORS, Row, errors_of
from gen_jax.laws.subject import Subject
from gen_jax.ops import diffusion, gaussian
from gen_jax.ops.importance import importance_weighted_bound_in_chunks
from gen_jax.typing import Nats, PRNGKey, Variables

SUMMED = 2**15
WALKS = 256
EXACT = 1e-9  # relative, in float64
ROUNDING = 1e-3  # nats


def chain(s: Subject) -> Iterator[Row]:
    """The coefficients are the products of single steps, and the posteriors follow Bayes' rule.

    1 / var = alpha_t / beta_t + 1 / (1 - alpha_bar_{t-1}); the mean is var times the precision-weighted mean of each
    factor.
    """
    model, now = s.model, s.model.chain
    beta = model.schedule.betas(model.timesteps)
    signal = np.exp(np.append(0.0, 0.5 * np.cumsum(np.log1p(-beta))))
    before, step = signal[1:-1], beta[1:]
    variance = 1 / ((1 - step) / step + 1 / (1 - before**2))
    stated = (now.signal, now.from_data[2:], now.from_noisy[2:], np.exp(2 * now.posterior[2:]))
    expected = (
        signal,
        variance * before / (1 - before**2),
        variance * np.sqrt(1 - step) / step,
        variance,
    )
    pairs = zip(stated, expected, strict=True)
    off = max(float(np.max(np.abs(a / b - 1))) for a, b in pairs)
    note = f"{model.timesteps} steps; x_T contains {signal[-1]:.2g} x_0"
    yield Row("chain", off, EXACT, "relative", note)


def non_negative(s: Subject) -> Iterator[Row]:
    """Every term of the bound is a divergence or the cost of an integer: finite and not negative."""
    terms = jax.jit(functools.partial(s.model.apply, method="terms"))
    key, chunks = fold_in(root_key(s.seed), "terms"), []
    for first, (x, cond, count) in enumerate(s.chunks(*s.every)):
        part = terms(s.variables, x, fold_in(key, first), cond=cond)
        chunks.append(np.asarray(part)[:count])
    each = np.concatenate(chunks)
    note = f"{each.shape[1]} terms of {len(each)} real and extreme images"
    if s.model.kind == "mass":
        bits = bits_per_dim(jnp.asarray(each[: len(s.x)].sum(axis=1).mean()), s.model.event)
        note += f"; the real ones cost {float(bits):.3f} bits/dim"
    yield Row("terms not below 0", float(np.max(-each)), ROUNDING, "nats", note)


def trajectories(s: Subject) -> Iterator[Row]:
    """The sum of terms equals the mean log-weight of trajectories, on the same images."""
    rows = np.arange(WALKS) % len(s.x)

    @jax.jit
    def walk(variables: Variables, key: PRNGKey, x: Array, cond: Any) -> Nats:
        return trajectory(s.model, variables, key, len(x), x, cond)[1]

    terms, key = jax.jit(s.pure.log_prob), fold_in(root_key(s.seed), "trajectories")
    gaps = []
    for first, (part, cond, count) in enumerate(s.chunks(s.x[rows], rows_of(s.cond, rows))):
        walk_key, terms_key = (fold_in(fold_in(key, name), first) for name in ("walk", "terms"))
        walked = np.asarray(walk(s.variables, walk_key, part, cond), np.float64)
        summed = np.asarray(terms(s.variables, part, terms_key, cond), np.float64)
        gaps.append((walked - summed)[:count])
    gap = np.concatenate(gaps)
    note = (
        f"{WALKS} trajectories, {gap.mean():+.3f} ± {gap.std(ddof=1) / WALKS**0.5:.3f} nats apart"
    )
    yield Row("terms = trajectories", abs(errors_of(gap)), ERRORS, "errors", note)


def both_sides(s: Subject) -> Iterator[Row]:
    """On trajectories sampled from the model the bound lies below their weights."""
    yield from bound.both_sides(s, simulated, draws=1)


def unit_sum(s: Subject) -> Iterator[Row]:
    """On a small model the mean weights of trajectories, summed over all events, give 1."""
    yield from bound.unit_sum(s, trajectory_bound, SUMMED)


def trajectory(
    model: Any,
    variables: Variables,
    key: PRNGKey,
    n: int,
    x: Num[Array, "n *event"] | None = None,
    cond: Any = None,
) -> tuple[Num[Array, "n *event"], Nats]:
    """A trajectory's x and log p(x_{0:T}) - log q(x_{1:T} | x_0), nats; it is drawn from q given x, or from the model.

    Over q the mean of this log-weight is -L, and the mean of its exponential is p(x).
    """
    bound = model.bind(variables)
    chain, shape, axes = model.chain, (n, *model.event.shape), len(model.event.shape) + 1
    data = None if x is None else bound.to_reals(x)
    start = _normal(fold_in(key, model.timesteps + 1), shape)
    if data is not None:
        start = diffusion.diffused(diffusion.at(chain, _all(n, -1), axes), data, start)
    event = bound.to_event(jnp.zeros(shape)) if x is None else x

    def step(carry, t):
        x_t, log_weight, event = carry
        now, before = (diffusion.at(chain, _all(n, s), axes) for s in (t, t - 1))
        noise = _normal(fold_in(key, t), shape)
        back = model.apply(variables, x_t, _all(n, t), now, cond=cond, method="back")
        mean = diffusion.posterior_mean(now, back.data, x_t)
        if data is None:
            drawn = gaussian.sample(mean, back.log_scale, noise)
            event = jnp.where(t == 1, bound.to_event(drawn), event)
            x_0 = bound.to_reals(event)
        else:
            true_mean = diffusion.posterior_mean(now, data, x_t)
            drawn = gaussian.sample(true_mean, now.posterior, noise)
            x_0 = data
        x_s = jnp.where(t == 1, x_0, drawn)
        log_p = jnp.where(
            t == 1,
            bound.log_decoder(event, mean, back.log_scale),
            gaussian.log_prob(x_s, mean, back.log_scale),
        )
        log_q = gaussian.log_prob(x_t, now.signal / before.signal * x_s, now.forward)
        log_weight = log_weight + jnp.sum(log_p - log_q, axis=tuple(range(1, axes)))
        return (x_s, log_weight, event), None

    log_weight = jnp.sum(gaussian.log_prob(start), axis=tuple(range(1, axes)))
    times = jnp.arange(model.timesteps, 0, -1)
    (_, log_weight, event), _ = lax.scan(step, (start, log_weight, event), times)
    return event, log_weight


def trajectory_bound(
    model: Any, variables: Variables, x: Num[Array, "B *event"], key: PRNGKey, draws: int, cond: Any
) -> Nats:
    """The importance-weighted bound of `draws` trajectories, nats."""

    def log_weights(number: Int[Array, " k"]) -> Float[Array, "k B"]:
        return trajectory(model, variables, fold_in(key, number[0]), len(x), x, cond)[1][None]

    return importance_weighted_bound_in_chunks(log_weights, draws, chunk=1)


def simulated(
    model: Any, variables: Variables, key: PRNGKey, n: int, draws: int, cond: Any = None
) -> tuple[Num[Array, "n *event"], Nats]:
    """Samples x and an upper bound of log p(x), nats: one of `draws` trajectories generated x (see `laws.bound`)."""
    x, generating = trajectory(model, variables, fold_in(key, "own"), n, None, cond)

    def log_weights(number: Int[Array, " k"]) -> Float[Array, "k n"]:
        key_of = fold_in(fold_in(key, "q"), number[0])
        other = trajectory(model, variables, key_of, n, x, cond)[1]
        return jnp.where(number == 0, generating, other)[None]

    return x, importance_weighted_bound_in_chunks(log_weights, draws, chunk=1)


def _normal(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    return jax.random.normal(key, shape, jnp.result_type(float))


def _all(n: int, t: Int[Array, ""] | int) -> Int[Array, " n"]:
    """The same time for every example."""
    return jnp.full(n, t)
