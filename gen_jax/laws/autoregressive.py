"""The laws of an exact autoregressive mass, measured on given weights: what a certificate is made of.

A law takes a `Subject` and gives rows: what was measured, in which unit, and the limit.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from gen_jax.density import Computing, bits_per_dim, fold_in, root_key
from gen_jax.laws.row import ERRORS, Row
from gen_jax.laws.subject import Subject
from gen_jax.models.autoregressive.base import stepped_params

DRAWS, DRAWN_AT_ONCE = 128, 64
SUM = 1e-4  # float32 rounding of a logistic of the least scale, e^-7 at 256 levels, comes to 5e-5
SAME, STEP, STEP_BFLOAT16 = 1e-4, 1e-4, 5e-2
ACCELERATOR = 1e-5  # relative change that is rounding where a convolution may add in another order
REPRESENTED = 1e-30  # a smaller probability has no exact float32
ROUNDING = 1e-6  # nats a site


def causal(s: Subject) -> Iterator[Row]:
    """Changing a value leaves every distribution up to and including its own; what changes declares it as context.

    Own: the conditionals of the site's values up to the changed one, through the head.
    """
    model, sites = s.model, s.chosen_sites
    declared = np.stack([model.context(j)[sites] for j in range(model.num_sites)], axis=1)
    own = jax.jit(functools.partial(_own, model), static_argnums=3)
    moved_by = jax.jit(lambda one, two: jnp.max(jnp.abs(two - one), axis=(0, 2)))
    rng = np.random.default_rng((s.seed, 1))
    moves, leak, scale, changes = np.zeros(declared.shape, np.float32), 0.0, 0.0, 0
    for x, cond, _ in s.chunks(s.x, s.labels):
        before = s.params(x, cond)
        scale = np.maximum(scale, np.asarray(jnp.max(jnp.abs(before))))
        for k, site in enumerate(sites):
            for value, place in enumerate(model.sites[site]):
                other = x.reshape(len(x), -1).copy()
                step = rng.integers(1, model.levels, len(x))
                other[:, place] = (other[:, place].astype(np.int64) + step) % model.levels
                other = other.reshape(x.shape)
                after = s.params(other, cond)
                # one program, called twice: equal inputs then give equal bits
                pair = [np.asarray(own(*one, site, value)) for one in ((before, x), (after, other))]
                leak = np.maximum(leak, np.max(np.abs(pair[0] - pair[1])))
                moves[k] = np.maximum(moves[k], np.asarray(moved_by(before, after)))
                changes += len(x)
    rounding = 0.0 if jax.devices()[0].platform == "cpu" else ACCELERATOR * float(scale)
    earlier = np.arange(model.num_sites) <= sites[:, None]
    leak = float(np.maximum(leak, np.max(moves, where=earlier, initial=0.0)))
    moved = ~(moves <= rounding) & ~earlier
    seen = f"{np.sum(moved & declared):,} of {np.sum(declared):,} declared pairs seen"
    yield Row("causal", leak, rounding, "change", f"{len(sites)} sites, {changes:,} changed events")
    yield Row("within the context", float(np.sum(moved & ~declared)), 0.0, "pairs", seen)


def normalised(s: Subject) -> Iterator[Row]:
    """Every conditional is non-negative and sums to 1, and `log_prob` is the sum of their logarithms."""
    log_probs = jax.jit(functools.partial(s.model.apply, method="log_prob_sites"))
    total = jax.jit(s.pure.log_prob)
    errors, apart = [], 0.0
    for x, cond, _ in s.chunks(*s.every):
        wrong, own, _ = s.conditionals(s.params(x, cond), x)
        sites = np.asarray(log_probs(s.variables, x, cond), np.float64)
        whole = np.asarray(total(s.variables, x, cond=cond), np.float64)
        product = np.prod(own, axis=-1, dtype=np.float64)
        visible = ~(np.min(own, axis=-1) < REPRESENTED)
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
    """Stepping through given values gives the parameters of the parallel pass, relative to the site's largest."""
    stepped = jax.jit(functools.partial(stepped_params, s.model))
    apart = 0.0
    for x, cond, _ in s.chunks(*s.every):
        one, other = s.params(x, cond), stepped(s.variables, x, cond)
        apart = np.maximum(apart, np.asarray(_apart(one, other)))
    model: Any = s.model
    half = isinstance(model, Computing) and model.dtype == "bfloat16"
    note = f"{s.model.num_sites:,} sites of {len(s.every[0])} real and extreme events"
    yield Row("step = parallel", float(apart), STEP_BFLOAT16 if half else STEP, "relative", note)


def martingale(s: Subject) -> Iterator[Row]:
    """On the model's own samples sum_i -log p(x_i | x_<i) - H_i has mean 0, in standard errors of that mean."""
    draw = jax.jit(s.pure.sample, static_argnums=2)
    key, model = fold_in(root_key(s.seed), "certify"), s.model
    excess = []
    for first in range(0, DRAWS, DRAWN_AT_ONCE):
        cond = s.classes(DRAWN_AT_ONCE)
        x = np.asarray(draw(s.variables, fold_in(key, first), DRAWN_AT_ONCE, cond))
        for part, labels, count in s.chunks(x, cond):
            _, own, entropy = s.conditionals(s.params(part, labels), part)
            surprise = -np.log(np.maximum(own, np.finfo(np.float32).tiny), dtype=np.float64)
            excess.append((surprise.sum(axis=(1, 2)) - entropy.sum(axis=1))[:count])
    values = np.concatenate(excess)
    mean = float(values.mean())
    error = max(float(values.std(ddof=1)) / math.sqrt(len(values)), ROUNDING * model.num_sites)
    bits = float(bits_per_dim(jnp.asarray(error), model.event))
    note = f"{DRAWS} samples, mean {mean:+.3f} nats; one error is {bits:.4f} bits/dim"
    yield Row("samples follow p", abs(mean) / error, ERRORS, "errors", note)


def finite(s: Subject) -> Iterator[Row]:
    """Neither parameters, nor conditionals, nor log p of an extreme image are NaN or infinite."""
    total, bad = jax.jit(s.pure.log_prob), 0
    for x, cond, count in s.chunks(s.extremes, s.classes(len(s.extremes))):
        params = s.params(x, cond)
        parts = (params, total(s.variables, x, cond=cond), *s.conditionals(params, x))
        bad += sum(int(np.sum(~np.isfinite(np.asarray(part)[:count]))) for part in parts)
    yield Row("finite", float(bad), 0.0, "numbers", "all lowest, all highest, checkerboard, noise")


def _own(
    model: Any,
    params: Float[Array, "B sites P"],
    x: Integer[Array, "B *event"],
    site: Int[Array, ""],
    last: int,
) -> Float[Array, "B V levels"]:
    """The conditionals of the site's values up to the last one that counts."""
    params, values = params[:, site], model.site_values(x)[:, site]
    pmfs = [model.head.conditional(params, v, values) for v in range(last + 1)]
    return jnp.stack(pmfs, axis=1)


@jax.jit
def _apart(one: Float[Array, "B sites P"], other: Float[Array, "B sites P"]) -> Float[Array, ""]:
    largest = jnp.maximum(1.0, jnp.max(jnp.abs(one), axis=-1, keepdims=True))
    return jnp.max(jnp.abs(one - other) / largest)
