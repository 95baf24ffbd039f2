"""The laws of a lower bound of log p, measured on given weights: what its certificate is made of.

L_K is the bound of K importance samples (`log_prob` with `draws`). `simulated` gives x of the model itself with U_K,
the same average over K draws of which one is the z that made x: a draw from p(z | x), so E U_K >= log p(x) >= E L_K
(bidirectional Monte Carlo with one importance step; Grosse, Ghahramani and Adams 2015, 1511.02543; Sobolev and Vetrov
2019, 1906.03708).
"""

import functools
import itertools
import math
from collections.abc import Iterator

import jax
import numpy as np

from gen_jax.density import fold_in, functional, root_key
from gen_jax.laws.autoregressive import ERRORS, Row
from gen_jax.laws.subject import Subject
from gen_jax.typing import Event

DRAWS, PAIRS, SUMMED, AT_ONCE, OUTSIDE = (1, 8, 64), 64, 2**18, 4096, 2**12
ROUNDING = 1e-6  # relative
SUM = 0.15  # the sum is off by 0.01 to 0.07 by chance


def rises(s: Subject) -> Iterator[Row]:
    """E L_1 <= E L_8 <= E L_64: more draws bring the bound closer."""
    means, worst = [], -math.inf
    before = None
    for draws in DRAWS:
        values = _bounds(s, s.x, s.labels, draws)
        means.append(values)
        if before is not None:
            worst = float(np.maximum(worst, errors_of(before - values)))
        before = values
    scale = s.model.event.size * math.log(2.0)
    said = [f"{-one.mean() / scale:.4f}" for one in means]
    error = means[-1].std(ddof=1) / math.sqrt(len(means[-1])) / scale
    which = ", ".join(str(draws) for draws in DRAWS)
    note = f"{', '.join(said)} bits/dim of {which} draws, ± {error:.4f} over {len(s.x)} real events"
    yield Row("more draws, higher bound", worst, ERRORS, "errors", note)


def both_sides(s: Subject, draws: int = DRAWS[-1]) -> Iterator[Row]:
    """On pairs (x, z) of the model itself the lower bound lies below the upper one."""
    key = fold_in(root_key(s.seed), "simulated")
    simulated = jax.jit(functools.partial(s.model.apply, method="simulated"), static_argnums=(2, 3))
    x, upper = (np.asarray(part) for part in simulated(s.variables, key, PAIRS, draws))
    gap = upper.astype(np.float64) - _bounds(s, x, None, draws)
    drawn = f"{draws} draw{'s' * (draws > 1)}"
    note = f"{PAIRS} pairs, {drawn}: {gap.mean():.3f} nats between lower and upper bound"
    yield Row("lower below upper", errors_of(-gap), ERRORS, "errors", note)


def unit_sum(s: Subject, method: str = "log_prob", summed: int = SUMMED) -> Iterator[Row]:
    """On a tiny clone sum_x E_q [p(x, z) / q(z | x)] = 1; a mis-scaled term breaks it.

    Less what the model says to lie `outside` of all events. `method` gives the importance-weighted bound of so many
    draws; it is taken of `summed` events in all.
    """
    clone = functional(s.model.tiny())
    every = all_events(clone.model.event)
    key = fold_in(root_key(s.seed), "unit sum")
    some = np.random.default_rng(s.seed).choice(len(every), 64, replace=False)
    variables = clone.init(key, every[some])
    bound = functools.partial(clone.model.apply, variables, draws=2, method=method)
    weight = jax.jit(lambda x, key: bound(x, key))
    sums, times = [], max(1, summed // len(every))
    for draw in range(times):
        parts = [
            np.asarray(weight(every[i : i + AT_ONCE], fold_in(fold_in(key, draw), i)), np.float64)
            for i in range(0, len(every), AT_ONCE)
        ]
        sums.append(np.exp(np.concatenate(parts)).sum())
    found, lost = float(np.mean(sums)), 0.0
    said = f"{found:.4f} over {len(every):,} events, {times} times two draws each, initial weights"
    if hasattr(clone.model, "outside"):
        apply = functools.partial(clone.model.apply, variables, method="outside")
        lost = float(jax.jit(apply, static_argnums=1)(fold_in(key, "outside"), OUTSIDE))
        said += f", and {lost:.4f} outside"
    yield Row("unit sum", abs(found + lost - 1.0), SUM, "", said)


def all_events(event: Event) -> np.ndarray:
    """Every event of a few values."""
    values = itertools.product(range(event.levels or 0), repeat=event.size)
    return np.array(list(values), np.int32).reshape(-1, *event.shape)


def finite(s: Subject) -> Iterator[Row]:
    """The bound of an extreme image is neither NaN nor infinite."""
    bad = np.sum(~np.isfinite(_bounds(s, s.extremes, s.classes(len(s.extremes)), 1)))
    yield Row("finite", float(bad), 0.0, "numbers", "all lowest, all highest, checkerboard, noise")


def _bounds(s: Subject, x: np.ndarray, labels: np.ndarray | None, draws: int) -> np.ndarray:
    """L_K of each example, nats; the noise differs from K to K."""
    bound = jax.jit(functools.partial(s.pure.log_prob, draws=draws))
    key, found = fold_in(fold_in(root_key(s.seed), "bounds"), draws), []
    for first, (part, cond, count) in enumerate(s.chunks(x, labels)):
        found.append(np.asarray(bound(s.variables, part, fold_in(key, first), cond=cond))[:count])
    return np.concatenate(found).astype(np.float64)


def errors_of(differences: np.ndarray) -> float:
    """The mean in standard errors of the mean; rounding counts as error."""
    rounding = ROUNDING * max(1.0, float(np.abs(differences).max()))
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) / max(error, rounding)
