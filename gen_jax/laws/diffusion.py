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
FEWEST, WALKS, VALUES = 32, 256, 2**24  # trajectories, and their values at all times
LIMIT_STEPS = 1000
EXACT = 1e-9  # relative, in float64
ROUNDING = 1e-3  # nats


def chain(s: Subject) -> Iterator[Row]:
    """The signal is the product of single steps, its ratio to the noise falls, and the posteriors follow Bayes' rule.

    1 / var = alpha_t / beta_t + 1 / (1 - alpha_bar_{t-1}); the mean is var times the precision-weighted mean of each
    factor. All in float64.
    """
    with jax.enable_x64(True):
        now = s.model.apply(_doubled(s.variables), method="chain")
    now = jax.tree.map(np.asarray, now)
    beta = np.exp(2 * now.forward[1:])
    log_kept = np.cumsum(np.log1p(-beta))  # of alpha_bar
    signal, left = np.exp(0.5 * log_kept), -np.expm1(log_kept)
    before, step = signal[:-1], beta[1:]
    variance = 1 / ((1 - step) / step + 1 / left[:-1])
    pairs = (
        (now.signal[1:], signal),
        (now.noise[1:], np.sqrt(left)),
        (now.from_data[2:], variance * before / left[:-1]),
        (now.from_noisy[2:], variance * np.sqrt(1 - step) / step),
        (np.exp(2 * now.posterior[2:]), variance),
    )
    off = max(float(np.max(np.abs(a / b - 1))) for a, b in pairs)
    start = abs(now.signal[0] - 1) + abs(now.noise[0])
    falls = bool(np.all(np.diff(now.noise / now.signal) > 0))
    note = f"{len(beta)} steps; x_T contains {now.signal[-1]:.2g} x_0"
    note += "" if falls else "; the ratio of signal to noise does not fall"
    yield Row("chain", max(off, float(start)) if falls else np.inf, EXACT, "relative", note)


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
    """The sum of terms equals the mean log-weight of trajectories, fewer of large events, on the same images."""
    steps = len(s.model.apply(s.variables, method="chain").signal) - 1
    walks = int(np.clip(VALUES // (steps * s.model.event.size), FEWEST, WALKS))
    rows = np.arange(walks) % len(s.x)

    @jax.jit
    def walk(variables: Variables, key: PRNGKey, x: Array, cond: Any) -> Nats:
        return trajectory(s.model, variables, key, len(x), x, cond)[1]

    terms = jax.jit(functools.partial(s.model.apply, method="terms"))
    key = fold_in(root_key(s.seed), "trajectories")
    gaps = []
    for first, (part, cond, count) in enumerate(s.chunks(s.x[rows], rows_of(s.cond, rows))):
        walk_key, terms_key = (fold_in(fold_in(key, name), first) for name in ("walk", "terms"))
        walked = np.asarray(walk(s.variables, walk_key, part, cond), np.float64)
        each = np.asarray(terms(s.variables, part, terms_key, cond=cond), np.float64)
        gaps.append((walked + each.sum(axis=1))[:count])
    gap = np.concatenate(gaps)
    note = (
        f"{walks} trajectories, {gap.mean():+.3f} ± {gap.std(ddof=1) / walks**0.5:.3f} nats apart"
    )
    yield Row("terms = trajectories", abs(errors_of(gap)), ERRORS, "errors", note)


def limit(s: Subject) -> Iterator[Row]:
    """In continuous time the bound is the limit of sums of terms, L_T = L + c / T + O(1 / T^2): 2 L_{2T} - L_T is L."""
    terms = jax.jit(functools.partial(s.model.apply, method="terms"), static_argnames="steps")
    log_prob = jax.jit(functools.partial(s.pure.log_prob, draws=LIMIT_STEPS))
    reconstruction = jax.jit(functools.partial(_reconstruction, s.model))
    key, sums = fold_in(root_key(s.seed), "limit"), []
    for first, (x, cond, count) in enumerate(s.chunks(s.x, s.cond)):
        keys = [fold_in(fold_in(key, name), first) for name in ("half", "whole", "limit", "x_1")]
        steps = LIMIT_STEPS // 2 + 1, LIMIT_STEPS + 1
        half, whole = (
            np.asarray(terms(s.variables, x, key, cond=cond, steps=number), np.float64)
            for key, number in zip(keys, steps, strict=False)
        )
        limit = -np.asarray(log_prob(s.variables, x, keys[2], cond), np.float64)
        data = np.asarray(reconstruction(s.variables, x, keys[3], cond), np.float64)
        both = [part[:, 1:].sum(axis=1) + data for part in (half, whole)]
        sums.append(np.stack([*both, limit])[:, :count])
    half, whole, limit = np.concatenate(sums, axis=1)
    gap = 2 * whole - half - limit
    note = (
        f"{limit.mean():.3f} nats in continuous time, {whole.mean():.3f} in {LIMIT_STEPS:,} steps;"
        f" extrapolated {gap.mean():+.3f} ± {gap.std(ddof=1) / len(gap) ** 0.5:.3f} apart"
    )
    yield Row("limit of steps", abs(errors_of(gap)), ERRORS, "errors", note)


def _reconstruction(model: Any, variables: Variables, x: Array, key: PRNGKey, cond: Any) -> Nats:
    """L_0 as a mean over many draws of x_1, nats."""
    bound = model.bind(variables)
    first = diffusion.at(bound.chain(), jnp.ones(len(x), int), x.ndim)
    x_0 = bound.to_reals(x)

    def one(total: Nats, draw: Int[Array, ""]) -> tuple[Nats, None]:
        x_1 = diffusion.diffused(first, x_0, _normal(fold_in(key, draw), x.shape))
        log_p = model.apply(variables, x, x_1, first, cond, method="log_decoder")
        return total - _summed(log_p), None

    total, _ = lax.scan(one, jnp.zeros(len(x)), jnp.arange(LIMIT_STEPS))
    return total / LIMIT_STEPS


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
    steps: int | None = None,
) -> tuple[Num[Array, "n *event"], Nats]:
    """A trajectory's x and log p(x_{0:T}) - log q(x_{1:T} | x_0), nats; it is drawn from q given x, or from the model.

    Over q the mean of this log-weight is -L, and the mean of its exponential is p(x).
    """
    bound = model.bind(variables)
    shape, axes = (n, *model.event.shape), len(model.event.shape) + 1
    chain, data = bound.chain(steps), None if x is None else bound.to_reals(x)
    entries = lambda t: diffusion.at(chain, jnp.full(n, t), axes)  # noqa: E731
    first, last = entries(1), len(chain.signal) - 1
    start = _normal(fold_in(key, last + 1), shape)
    if data is not None:
        start = diffusion.diffused(entries(last), data, start)

    def step(carry, t):
        x_t, log_weight = carry
        now, before = entries(t), entries(t - 1)
        noise = _normal(fold_in(key, t), shape)
        back = model.apply(variables, x_t, now, cond=cond, method="back")
        mean = diffusion.posterior_mean(now, back.data, x_t)
        if data is None:
            x_s = gaussian.sample(mean, back.log_scale, noise)
        else:
            true_mean = diffusion.posterior_mean(now, data, x_t)
            x_s = gaussian.sample(true_mean, now.posterior, noise)
        log_p = gaussian.log_prob(x_s, mean, back.log_scale)
        log_q = gaussian.log_prob(x_t, now.signal / before.signal * x_s, now.forward)
        return (x_s, log_weight + _summed(log_p - log_q)), None

    log_weight = _summed(gaussian.log_prob(start))
    (x_1, log_weight), _ = lax.scan(step, (start, log_weight), jnp.arange(last, 1, -1))
    call = functools.partial(model.apply, variables, cond=cond)
    event = call(x_1, first, fold_in(key, 1), method="decode") if x is None else x
    log_p = call(event, x_1, first, method="log_decoder")
    log_q = gaussian.log_prob(x_1, first.signal * bound.to_reals(event), first.forward)
    return event, log_weight + _summed(log_p - log_q)


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


def _summed(values: Float[Array, "B *event"]) -> Float[Array, " B"]:
    """The sum over each event."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def _doubled(variables: Variables) -> Variables:
    """The variables in float64, with x64 enabled."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
