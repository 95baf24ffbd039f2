"""The laws of a diffusion's bound, measured on given weights: what its certificate is made of.

L = sum_t L_t is what `log_prob` negates. A trajectory of q gives log p(x_{0:T}) - log q(x_{1:T} | x_0), whose mean is
-L as well, by other code and in another order of draws.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.density import bits_per_dim, fold_in, root_key
from gen_jax.laws.autoregressive import ERRORS, Row
from gen_jax.laws.bound import errors_of
from gen_jax.laws.subject import Subject

WALKS = 256
EXACT = 1e-9  # relative, in float64
ROUNDING = 1e-3  # nats


def chain(s: Subject) -> Iterator[Row]:
    """The coefficients are those that the single steps multiply out to, and their posteriors those of Bayes' rule.

    1 / var = alpha_t / beta_t + 1 / (1 - alpha_bar_{t-1}), and the mean that variance times what each factor says.
    """
    model, now = s.model, s.model.chain
    beta = model.schedule.betas(model.timesteps)
    signal = np.exp(np.append(0.0, 0.5 * np.cumsum(np.log1p(-beta))))
    before, step = signal[1:-1], beta[1:]
    variance = 1 / ((1 - step) / step + 1 / (1 - before**2))
    found = (now.signal, now.from_data[2:], now.from_noisy[2:], np.exp(2 * now.posterior[2:]))
    expected = (
        signal,
        variance * before / (1 - before**2),
        variance * np.sqrt(1 - step) / step,
        variance,
    )
    pairs = zip(found, expected, strict=True)
    off = max(float(np.max(np.abs(one / other - 1))) for one, other in pairs)
    note = f"{model.timesteps} steps, of x_0 is left {signal[-1]:.2g} in x_T"
    yield Row("chain", off, EXACT, "relative", note)


def non_negative(s: Subject) -> Iterator[Row]:
    """Every term of the bound is a divergence or the cost of an integer: finite, and never below 0."""
    terms = jax.jit(functools.partial(s.model.apply, method="terms"))
    key, found = fold_in(root_key(s.seed), "terms"), []
    for first, (x, _, count) in enumerate(s.chunks(*s.every)):
        found.append(np.asarray(terms(s.variables, x, fold_in(key, first)))[:count])
    each = np.concatenate(found)
    note = f"{each.shape[1]} terms of {len(each)} real and extreme images"
    if s.model.kind == "mass":
        bits = bits_per_dim(jnp.asarray(each[: len(s.x)].sum(axis=1).mean()), s.model.event)
        note += f"; the real ones cost {float(bits):.3f} bits/dim"
    yield Row("terms not below 0", float(np.max(-each)), ROUNDING, "nats", note)


def trajectories(s: Subject) -> Iterator[Row]:
    """The terms add up to the mean of the trajectories' log-weights, on the same images."""
    x = np.resize(s.x, (WALKS, *s.x.shape[1:]))
    walk = jax.jit(lambda v, key, x: s.model.apply(v, key, len(x), x, method="trajectory")[1])
    bound, key = jax.jit(s.pure.log_prob), fold_in(root_key(s.seed), "trajectories")
    gaps = []
    for first, (part, _, count) in enumerate(s.chunks(x, None)):
        one, other = (fold_in(fold_in(key, name), first) for name in ("walk", "terms"))
        walked = np.asarray(walk(s.variables, one, part), np.float64)
        gaps.append((walked - np.asarray(bound(s.variables, part, other), np.float64))[:count])
    gap = np.concatenate(gaps)
    note = (
        f"{WALKS} trajectories, {gap.mean():+.3f} ± {gap.std(ddof=1) / WALKS**0.5:.3f} nats apart"
    )
    yield Row("terms = trajectories", abs(errors_of(gap)), ERRORS, "errors", note)
