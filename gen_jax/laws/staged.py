"""The laws of a model in stages: log_prob is log p(v(x)), the log of one term of p(x) = sum_v p(v, x).

It is a lower bound, since sum_x p(v(x)) <= sum_v p(v) = 1. It is log p(x) if no values but v(x) that give x have mass.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.conditions import parts_of, rows_of, zeros
from gen_jax.density import fold_in, functional, root_key
from gen_jax.errors import InputError
from gen_jax.laws import autoregressive as laws
from gen_jax.laws.row import Row
from gen_jax.laws.small import all_events, small
from gen_jax.laws.subject import Subject

SUM, TERM = 1e-4, 1e-4  # float32 rounding
MOST = 2**12  # tuples of the values of all stages but the last
STAGE = (laws.causal, laws.normalised, laws.steps, laws.martingale, laws.depends)


def joint(s: Subject) -> Iterator[Row]:
    """On a small model the masses of all values of all stages sum to 1, and log_prob of x is that of v(x).

    An exact model has no mass elsewhere.
    """
    clone = functional(small(s.model))
    model, key = clone.model, fold_in(root_key(s.seed), "joint")
    x, label = all_events(model.event), zeros(model, 1)
    variables = jax.jit(clone.init)(key, x[:1], cond=label)
    stages = model.stages(variables)
    *spaces, last = (all_events(stage.model.event) for stage in stages)
    number = math.prod(len(space) for space in spaces)
    if number > MOST:
        raise InputError(
            f"the small model has {number:,} values of its first stages, over {MOST:,}"
        )
    tuples = [*itertools.product(*(range(len(space)) for space in spaces))]
    chosen = np.array(tuples, np.int32).reshape(number, len(spaces))
    values = [space[chosen[:, k]] for k, space in enumerate(spaces)]

    logs = np.zeros(number)
    for k, (stage, value) in enumerate(zip(stages[:-1], values, strict=True)):
        cond = stage.cond(_repeated(label, number), values[:k])
        logs += np.asarray(
            jax.jit(functional(stage.model).log_prob)(stage.variables, value, cond=cond)
        )

    @jax.jit
    def of_last(earlier):
        cond = stages[-1].cond(_repeated(label, len(last)), earlier)
        log_p = functional(stages[-1].model).log_prob(stages[-1].variables, last, cond=cond)
        return log_p, model.apply(variables, [*earlier, jnp.asarray(last)], method="whole")

    @jax.jit
    def of_whole(whole):
        parts = model.apply(variables, whole, method="parts")
        return parts, clone.log_prob(variables, whole, cond=_repeated(label, len(whole)))

    masses, apart, lost, done = [], 0.0, 0.0, None
    for i in range(number):
        earlier = [np.repeat(value[i : i + 1], len(last), axis=0) for value in values]
        log_p, whole = (np.asarray(part) for part in of_last(earlier))
        if done is None or not np.array_equal(whole, done[0]):
            done = (whole, *jax.device_get(of_whole(whole)))  # often for all values at once
        _, parts, log_prob = done
        same = [
            np.all(a == b, axis=tuple(range(1, a.ndim)))
            for a, b in zip(parts, [*earlier, last], strict=True)
        ]
        of_views = np.all(same, axis=0)
        terms = logs[i] + log_p
        masses.append(np.exp(terms.astype(np.float64)))
        lost += float(masses[-1][~of_views].sum())
        difference = np.abs(log_prob - terms) / np.maximum(1.0, np.abs(log_prob))
        apart = np.maximum(apart, np.max(difference[of_views], initial=0.0))
    note = f"{number:,} values of {len(spaces)} stages, {len(last):,} of the last, initial weights"
    yield Row("joint sums to 1", abs(float(np.sum(masses)) - 1.0), SUM, "probability", note)
    note = f"exp(log_prob) of all events sums to {np.sum(masses) - lost:.3f}"
    yield Row("bound is one of its terms", float(apart), TERM, "relative", note)
    if model.value == "exact":
        yield Row("no mass outside the views", lost, SUM, "probability", note)


def each_stage(s: Subject) -> Iterator[Row]:
    """The laws of an exact mass on every stage, given what the real events give it."""
    parts = jax.jit(lambda x: s.model.apply(s.variables, x, method="parts"))(s.x)
    values = [np.asarray(part) for part in parts]
    label = parts_of(s.model, s.cond).label
    for stage, value in zip(s.model.stages(s.variables), values, strict=True):
        cond = stage.cond(label, values)
        subject = Subject(functional(stage.model), stage.variables, value, cond, s.seed)
        for law in STAGE:
            for row in law(subject):
                yield dataclasses.replace(row, law=f"{stage.name}: {row.law}")


def _repeated(label, n: int):
    """The label of each of n examples, if the model has classes."""
    return rows_of(label, np.zeros(n, int))
