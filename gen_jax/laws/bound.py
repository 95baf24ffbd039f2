"""The laws of a lower bound of log p by importance sampling; `log_prob` takes the number of `draws`.

L_K is the bound with K draws. U_K is the same average for x sampled from the model, where one of the K draws is the z
that generated x, a draw from p(z | x). So E U_K >= log p(x) >= E L_K (bidirectional Monte Carlo with one importance
step; Grosse, Ghahramani and Adams 2015, 1511.02543; Sobolev and Vetrov 2019, 1906.03708).
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gen_jax.conditions import changed, drawn, rows_of
from gen_jax.density import fold_in, functional, root_key, takes_draws
from gen_jax.laws.row import ERRORS, Row, errors_of
from gen_jax.laws.small import all_events, small
from gen_jax.laws.subject import Subject
from gen_jax.ops.importance import importance_weighted_bound_in_chunks
from gen_jax.typing import Nats, PRNGKey, Variables

DRAWS, PAIRS, SUMMED, AT_ONCE = (1, 8, 64), 64, 2**18, 4096
SUM = 0.15  # by chance the sum is off by 0.01 to 0.07
VALUES_AT_ONCE = 2**21  # draws x examples x dimensions of a chunk

Bound = Callable[[Any, Variables, Array, PRNGKey, int, Any], Nats]
Lost = Callable[[Any, Variables, PRNGKey], float]
Simulated = Callable[[Any, Variables, PRNGKey, int, int, Any], tuple[Array, Nats]]


def rises(s: Subject) -> Iterator[Row]:
    """E L_1 <= E L_8 <= E L_64: more draws tighten the bound."""
    means, worst = [], -math.inf
    before = None
    for draws in DRAWS:
        values = _bounds(s, s.x, s.cond, draws)
        means.append(values)
        if before is not None:
            worst = float(np.maximum(worst, errors_of(before - values)))
        before = values
    scale = s.model.event.size * math.log(2.0)
    numbers = ", ".join(f"{-values.mean() / scale:.4f}" for values in means)
    error = means[-1].std(ddof=1) / math.sqrt(len(means[-1])) / scale
    which = ", ".join(str(draws) for draws in DRAWS)
    note = f"{numbers} bits/dim of {which} draws, ± {error:.4f} over {len(s.x)} real events"
    yield Row("more draws, higher bound", worst, ERRORS, "errors", note)


def simulated(
    model: Any, variables: Variables, key: PRNGKey, n: int, draws: int, cond: Any = None
) -> tuple[Int[Array, "n *event"], Nats]:
    """Samples x of a model with latents, and U_K, nats: one of `draws` weights has the z that generated x."""
    call = functools.partial(model.apply, variables)
    state, latents = call(fold_in(key, "z"), n, cond=cond, method="draw_latents")
    x = call(state, fold_in(key, "x"), method="draw")
    before = call(n, x, cond, method="begin")
    true = call(x, latents, cond, method="log_weights_at")

    def log_weights(number: Int[Array, " k"]) -> Float[Array, "k B"]:
        likelihood, (ratio,) = call(x, before, fold_in(key, "q"), number, method="log_terms")
        return jnp.where((number == 0)[:, None], true, likelihood + ratio)

    chunk = max(1, VALUES_AT_ONCE // (n * model.largest))
    return x, importance_weighted_bound_in_chunks(log_weights, draws, chunk)


def both_sides(
    s: Subject, simulated: Simulated = simulated, draws: int = DRAWS[-1]
) -> Iterator[Row]:
    """On pairs (x, z) sampled from the model the lower bound lies below the upper bound."""
    key = fold_in(root_key(s.seed), "simulated")
    program = jax.jit(functools.partial(simulated, s.model), static_argnums=(2, 3))
    cond = s.conditions(PAIRS)
    x, upper = (np.asarray(part) for part in program(s.variables, key, PAIRS, draws, cond))
    gap = upper.astype(np.float64) - _bounds(s, x, cond, draws)
    drawn = f"{draws} draw{'s' * (draws > 1)}"
    note = f"{PAIRS} pairs, {drawn}: {gap.mean():.3f} nats between lower and upper bound"
    yield Row("lower below upper", errors_of(-gap), ERRORS, "errors", note)


def log_prob(
    model: Any, variables: Variables, x: Array, key: PRNGKey, draws: int, cond: Any
) -> Nats:
    """L_K, as in evaluation."""
    return model.apply(variables, x, key, cond, draws=draws, method="log_prob")


def unit_sum(
    s: Subject, bound: Bound = log_prob, summed: int | None = None, lost: Lost | None = None
) -> Iterator[Row]:
    """On a small model sum_x E_q [p(x, z) / q(z | x)] = 1; a wrongly scaled term violates this.

    `bound` is an importance-weighted bound, computed for `summed` events in all (by default `SUMMED`), of one class
    after the other; `lost` is the probability that the model gives to no event.
    """
    pure = functional(small(s.model))
    every = all_events(pure.model.event)
    key = fold_in(root_key(s.seed), "unit sum")
    some = np.random.default_rng(s.seed).choice(len(every), 64, replace=False)
    variables = pure.init(key, every[some], drawn(pure.model, 64))
    classes = pure.model.num_classes or 1
    in_turn = drawn(pure.model, classes)

    @jax.jit
    def weight(x: Array, key: PRNGKey, cond: Any) -> Nats:
        return bound(pure.model, variables, x, key, 2, rows_of(cond, np.zeros(len(x), int)))

    sums, times = [], max(1, (summed or SUMMED) // len(every))
    for draw in range(times):
        cond = rows_of(in_turn, slice(draw % classes, draw % classes + 1))
        parts = [
            np.asarray(weight(every[i : i + AT_ONCE], fold_in(fold_in(key, draw), i), cond))
            for i in range(0, len(every), AT_ONCE)
        ]
        sums.append(np.exp(np.concatenate(parts, dtype=np.float64)).sum())
    total, outside = float(np.mean(sums)), 0.0
    note = f"{total:.4f} over {len(every):,} events, {times} times two draws each, initial weights"
    if lost is not None:
        outside = lost(pure.model, variables, fold_in(key, "outside"))
        note += f", and {outside:.4f} outside"
    yield Row("unit sum", abs(total + outside - 1.0), SUM, "", note)


def finite(s: Subject) -> Iterator[Row]:
    """The bound of extreme images is finite."""
    bad = np.sum(~np.isfinite(_bounds(s, s.extremes, s.conditions(len(s.extremes)), 1)))
    yield Row("finite", float(bad), 0.0, "numbers", "all lowest, all highest, checkerboard, noise")


def depends(s: Subject) -> Iterator[Row]:
    """The class changes the bound of some event under the same noise, and so does each other value that is given."""
    changes, key = changed(s.model, s.cond, s.seed), fold_in(root_key(s.seed), "depends")
    options = {"draws": 1} if takes_draws(s.model) else {}
    log_prob = jax.jit(functools.partial(s.pure.log_prob, **options))
    ignored = 0
    for other in changes:
        pairs = zip(s.chunks(s.x, s.cond), s.chunks(s.x, other), strict=True)
        both = [[log_prob(s.variables, x, key, cond=c) for x, c, _ in pair] for pair in pairs]
        ignored += all(np.array_equal(*pair) for pair in both)
    note = f"{len(changes)} conditions, each changed for {len(s.x)} real events"
    yield Row("depends on its conditions", float(ignored), 0.0, "conditions ignored", note)


def _bounds(s: Subject, x: np.ndarray, cond: Any, draws: int) -> np.ndarray:
    """L_K of each example, nats; each K has its own noise."""
    bound = jax.jit(functools.partial(s.pure.log_prob, draws=draws))
    key, values = fold_in(fold_in(root_key(s.seed), "bounds"), draws), []
    for first, (part, rows, count) in enumerate(s.chunks(x, cond)):
        values.append(np.asarray(bound(s.variables, part, fold_in(key, first), cond=rows))[:count])
    return np.concatenate(values).astype(np.float64)
