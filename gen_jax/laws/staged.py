"""The laws of a model in stages: log_prob is log p(z(x), x), one term of p(x) = sum_z p(z, x).

It is a lower bound, since sum_x p(z(x), x) <= sum_{z, x} p(z, x) = 1.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.conditions import parts_of
from gen_jax.density import fold_in, functional, root_key
from gen_jax.laws import autoregressive as laws
from gen_jax.laws.row import Row
from gen_jax.laws.small import all_events, small
from gen_jax.laws.subject import Subject

SUM, TERM = 1e-4, 1e-4  # float32 rounding


def joint(s: Subject) -> Iterator[Row]:
    """On a small model p(z, x) sums to 1 over all pairs, and log_prob of each x is log p(z, x) for some z."""
    clone = functional(small(s.model))
    x, key = all_events(clone.model.event), fold_in(root_key(s.seed), "joint")
    label = np.zeros(1, np.int32) if clone.model.num_classes else None
    variables = jax.jit(clone.init)(key, x[:1], cond=label)
    codes, pixels = clone.model.stages(variables)
    z = all_events(codes.model.event)
    cond = None if label is None else np.repeat(label, len(z))
    priors = jax.jit(functional(codes.model).log_prob)(codes.variables, z, cond=cond)

    @jax.jit
    def log_likelihood(code):
        repeated = jnp.broadcast_to(code, (len(x), *code.shape))
        return functional(pixels.model).log_prob(pixels.variables, x, cond=repeated)

    terms = np.stack([p + log_likelihood(code) for p, code in zip(priors, z, strict=True)])
    total = float(np.sum(np.exp(terms.astype(np.float64))))
    note = f"{len(z):,} codes, {len(x):,} events, initial weights"
    yield Row("joint sums to 1", abs(total - 1.0), SUM, "probability", note)
    cond = None if label is None else np.repeat(label, len(x))
    bound = np.asarray(jax.jit(clone.log_prob)(variables, x, cond=cond), np.float64)
    apart = float(np.max(np.min(np.abs(terms - bound), axis=0)))
    note = f"exp(log_prob) of all events sums to {np.sum(np.exp(bound)):.3f}"
    yield Row("bound is one of its terms", apart, TERM, "nats", note)


def first_values(s: Subject) -> Iterator[Row]:
    """The laws of an exact mass on the first stage, at the codes of the real images."""
    stage = s.model.stages(s.variables)[0]
    codes, *_ = jax.jit(lambda x: s.model.apply(s.variables, x, method="parts"))(s.x)
    subject = Subject(
        functional(stage.model),
        stage.variables,
        np.asarray(codes),
        parts_of(s.model, s.cond).label,
        s.seed,
    )
    for law in (laws.causal, laws.normalised, laws.steps, laws.martingale):
        for row in law(subject):
            yield dataclasses.replace(row, law=f"codes: {row.law}")
