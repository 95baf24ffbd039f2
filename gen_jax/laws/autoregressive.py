"""The laws of an exact autoregressive mass, log p(x) = sum_i log p(x_i | x_<i), measured on given weights.

Certificates check causality, normalisation, steps, samples and extreme events. `total`, `frequencies`, `same_draws` and
a complete context need a model whose events can be enumerated or that is cheap to sample: only the suite checks them.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.conditions import changed, events_of, rows_of
from gen_jax.density import Computing, bits_per_dim, fold_in, root_key
from gen_jax.laws.row import ERRORS, Row, pooled_chi_square
from gen_jax.laws.small import all_events
from gen_jax.laws.subject import Subject
from gen_jax.models.autoregressive.base import batch_of, naive, stepped_params

DRAWS = 128
COUNTED, UNLIKELY = 20_000, 4.0  # samples, and -log10 of the smallest p-value that may be chance
VALUES = 3  # values of other conditions than classes under which all events are summed
HEAT = 1.3  # temperature of samples that are drawn twice
SUM = 1e-4  # float32 rounding of a logistic of the smallest scale, e^-7 at 256 levels, is 5e-5
SAME, STEP, STEP_BFLOAT16 = 1e-4, 1e-4, 5e-2
ACCELERATOR = 1e-5  # relative rounding of a convolution that may add in another order
REPRESENTED = 1e-30  # a smaller probability has no exact float32
ROUNDING = 1e-6  # nats per site


class Influence(NamedTuple):
    """What changes when the values of each chosen site change.

    `moved`: whether the parameters of another site change. `leak`: the largest change in the distribution of an earlier
    value or of the changed value itself. `rounding`: the largest change that counts as zero.
    """

    moved: Bool[np.ndarray, "chosen sites"]
    leak: float
    rounding: float
    changes: int


def influence(s: Subject) -> Influence:
    """Change each value of each chosen site in every event; the distributions of a site's values are the head's."""
    model, sites = s.model, s.chosen_sites
    pmfs = jax.jit(functools.partial(_pmfs, model))
    moved_by = jax.jit(lambda a, b: jnp.max(jnp.abs(b - a), axis=(0, 2)))
    rng = np.random.default_rng((s.seed, 1))
    moves, leak, scale, changes = np.zeros((len(sites), model.num_sites)), 0.0, 0.0, 0
    for x, cond, count in s.chunks(s.x, s.cond):
        before = s.params(x, cond)
        scale = np.maximum(scale, np.asarray(jnp.max(jnp.abs(before))))
        for k, site in enumerate(sites):
            for value, place in enumerate(model.sites[site]):
                other = x.reshape(len(x), -1).copy()
                step = rng.integers(1, model.levels, len(x))
                other[:, place] = (other[:, place].astype(np.int64) + step) % model.levels
                other = other.reshape(x.shape)
                after = s.params(other, cond)
                # The same program for both: equal inputs give equal bits. Later values may depend on this one.
                versions = ((before, x), (after, other))
                pair = [np.asarray(pmfs(*version, site))[:, : value + 1] for version in versions]
                leak = np.maximum(leak, np.max(np.abs(pair[0] - pair[1])))
                moves[k] = np.maximum(moves[k], np.asarray(moved_by(before, after)))
                changes += count
    rounding = 0.0 if jax.devices()[0].platform == "cpu" else ACCELERATOR * float(scale)
    earlier = np.arange(model.num_sites) <= sites[:, None]
    leak = float(np.maximum(leak, np.max(moves, where=earlier, initial=0.0)))
    return Influence(~(moves <= rounding), leak, rounding, changes)


def causal(s: Subject, complete: bool = False) -> Iterator[Row]:
    """Changing a value must not affect any distribution up to and including its own.

    Every distribution that it affects must list it in `context`. If the context must be `complete`, every distribution
    that lists it must also be affected.
    """
    model, sites, seen = s.model, s.chosen_sites, influence(s)
    declared = np.stack([model.context(j)[sites] for j in range(model.num_sites)], axis=1)
    moved = seen.moved & (np.arange(model.num_sites) > sites[:, None])
    note = f"{len(sites)} sites, {seen.changes:,} changed events"
    yield Row("causal", seen.leak, seen.rounding, "change", note)
    note = f"{np.sum(moved & declared):,} of {np.sum(declared):,} declared pairs seen"
    yield Row("within the context", float(np.sum(moved & ~declared)), 0.0, "pairs", note)
    if complete:
        yield Row("whole context", float(np.sum(declared & ~moved)), 0.0, "pairs", note)


def normalised(s: Subject) -> Iterator[Row]:
    """Every conditional is non-negative and sums to 1, and `log_prob` is the sum of log conditionals."""
    errors, apart = [], 0.0
    for x, cond, _ in s.chunks(*s.every):
        wrong, p, _ = s.conditionals(s.params(x, cond), x)
        sites, whole = s.log_probs(x, cond)
        product = np.prod(p, axis=-1, dtype=np.float64)
        visible = ~(np.min(p, axis=-1) < REPRESENTED)
        logs = np.log(np.where(visible, product, 1.0))
        site = np.max(np.abs(np.where(visible, sites, 0.0) - logs) / np.maximum(1.0, -logs))
        event = np.max(np.abs(sites.sum(axis=-1) - whole) / np.maximum(1.0, np.abs(whole)))
        apart = np.max([apart, site, event])
        errors.append(wrong)
    error, bits = np.max(errors), np.mean(errors) / math.log(2.0)
    note = f"{len(s.every[0])} real and extreme events; on average {bits:.1g} bits/dim"
    yield Row("conditionals sum to 1", float(error), SUM, "probability", note)
    yield Row(
        "log_prob is their sum", float(apart), SAME, "relative", "every site and the whole event"
    )


def steps(s: Subject) -> Iterator[Row]:
    """Stepping through given values gives the parameters of the parallel pass; error relative to a site's largest."""
    stepped = jax.jit(functools.partial(stepped_params, s.model))
    apart = 0.0
    for x, cond, _ in s.chunks(*s.every):
        parallel, one_by_one = s.params(x, cond), stepped(s.variables, x, cond)
        apart = np.maximum(apart, np.asarray(_apart(parallel, one_by_one)))
    model: Any = s.model
    half = isinstance(model, Computing) and model.dtype == "bfloat16"
    note = f"{s.model.num_sites:,} sites of {len(s.every[0])} real and extreme events"
    yield Row("step = parallel", float(apart), STEP_BFLOAT16 if half else STEP, "relative", note)


def martingale(s: Subject) -> Iterator[Row]:
    """On the model's own samples sum_i -log p(x_i | x_<i) - H_i has mean 0, in standard errors of that mean."""
    key, model = fold_in(root_key(s.seed), "certify"), s.model
    excess, batch = [], batch_of(model, s.variables)
    for first in range(0, DRAWS, batch):
        count = min(batch, DRAWS - first)
        cond = s.conditions(count)
        x = s.sample(fold_in(key, first), count, cond, 1.0)
        for part, rows, count in s.chunks(x, cond):
            _, p, entropy = s.conditionals(s.params(part, rows), part)
            surprise = -np.log(np.maximum(p, np.finfo(np.float32).tiny), dtype=np.float64)
            excess.append((surprise.sum(axis=(1, 2)) - entropy.sum(axis=1))[:count])
    values = np.concatenate(excess)
    mean = float(values.mean())
    error = max(float(values.std(ddof=1)) / math.sqrt(len(values)), ROUNDING * model.num_sites)
    bits = float(bits_per_dim(jnp.asarray(error), model.event))
    note = f"{DRAWS} samples, mean {mean:+.3f} nats; one error is {bits:.4f} bits/dim"
    yield Row("samples follow p", abs(mean) / error, ERRORS, "errors", note)


def total(s: Subject) -> Iterator[Row]:
    """The probabilities of all events sum to 1, for every class and for several values of other conditions."""
    x, number = (
        all_events(s.model.event),
        s.model.num_classes or (VALUES if events_of(s.model) else 1),
    )
    sums = [np.exp(s.log_probs(x, _all(s, k, len(x)))[1]).sum() for k in range(number)]
    off = float(np.max(np.abs(np.asarray(sums) - 1.0)))
    yield Row("all events sum to 1", off, SUM, "probability", f"{len(x):,} events")


def frequencies(s: Subject) -> Iterator[Row]:
    """Samples have the frequencies of the enumerated probabilities: -log10 of the p-value of a chi-square test."""
    x = all_events(s.model.event)
    expected = COUNTED * np.exp(s.log_probs(x, _all(s, 1, len(x)))[1])
    key = fold_in(root_key(s.seed), "frequencies")
    drawn = s.sample(key, COUNTED, _all(s, 1, COUNTED), 1.0)
    powers = s.model.event.levels ** np.arange(s.model.event.size)[::-1]
    counts = np.bincount(drawn.reshape(COUNTED, -1) @ powers, minlength=len(x))
    off = -math.log10(max(pooled_chi_square(counts, expected), 1e-300))
    yield Row("frequencies of samples", off, UNLIKELY, "-log10 p", f"{COUNTED:,} samples")


def same_draws(s: Subject) -> Iterator[Row]:
    """Cached steps draw the same integers as full parallel passes with the same keys."""
    n, key = batch_of(s.model, s.variables), fold_in(root_key(s.seed), "same draws")
    parallel = jax.jit(functools.partial(naive, s.model), static_argnums=2)
    args = (key, n, s.conditions(n), HEAT)
    drawn = [s.sample(*args), np.asarray(parallel(s.variables, *args))]
    note = f"{n} samples at temperature {HEAT}, {len(np.unique(drawn[0]))} different values"
    yield Row("steps draw as full passes", float(np.sum(drawn[0] != drawn[1])), 0.0, "values", note)


def finite(s: Subject) -> Iterator[Row]:
    """Parameters, conditionals and log p of extreme images are finite."""
    bad = 0
    for x, cond, count in s.chunks(s.extremes, s.conditions(len(s.extremes))):
        params = s.params(x, cond)
        parts = (params, s.log_probs(x, cond)[1], *s.conditionals(params, x))
        bad += sum(int(np.sum(~np.isfinite(np.asarray(part)[:count]))) for part in parts)
    yield Row("finite", float(bad), 0.0, "numbers", "all lowest, all highest, checkerboard, noise")


def depends(s: Subject) -> Iterator[Row]:
    """The class changes the parameters of some site, and so does each other value that the model is given."""
    changes = changed(s.model, s.cond, s.seed)
    if not changes:
        return
    ignored = 0
    for other in changes:
        pairs = zip(s.chunks(s.x, s.cond), s.chunks(s.x, other), strict=True)
        same = [np.array_equal(s.params(*a[:2]), s.params(*b[:2])) for a, b in pairs]
        ignored += all(same)
    note = f"{len(changes)} conditions, each changed for {len(s.x)} real events"
    yield Row("depends on its conditions", float(ignored), 0.0, "conditions ignored", note)


def _all(s: Subject, index: int, n: int) -> Any:
    """The same condition for n events, if the model is given any."""
    return rows_of(s.conditions(index + 1), np.full(n, index))


def _pmfs(
    model: Any,
    params: Float[Array, "B sites P"],
    x: Integer[Array, "B *event"],
    site: Int[Array, ""],
) -> Float[Array, "B V levels"]:
    """The conditionals of the site's values."""
    params, values = params[:, site], model.site_values(x)[:, site]
    pmfs = [model.head.conditional(params, v, values) for v in range(values.shape[1])]
    return jnp.stack(pmfs, axis=1)


@jax.jit
def _apart(a: Float[Array, "B sites P"], b: Float[Array, "B sites P"]) -> Float[Array, ""]:
    largest = jnp.maximum(1.0, jnp.max(jnp.abs(a), axis=-1, keepdims=True))
    return jnp.max(jnp.abs(a - b) / largest)
