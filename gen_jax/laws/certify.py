"""The laws on the trained weights, at highest matmul precision, and the certificate that they make.

Which laws: those of what the model's `log_prob` is, an exact mass site by site or a mixture of such, a density, or a
bound by random draws, by one term in stages or by a sum of terms; those of a bijection and of a codec where it has one.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from gen_jax import fingerprint
from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.density import Bijective
from gen_jax.errors import InputError
from gen_jax.evaluate import certificate
from gen_jax.laws import autoregressive as laws
from gen_jax.laws import bound as bounds
from gen_jax.laws import diffusion, staged
from gen_jax.laws import flow as bijections
from gen_jax.runs import source
from gen_jax.runs.machine import machine
from gen_jax.runs.run import Run

Law = Callable[[laws.Subject], Iterator[laws.Row]]

AUTOREGRESSIVE: tuple[Law, ...] = (  # an exact mass, site by site
    laws.causal,
    laws.normalised,
    laws.steps,
    laws.martingale,
    laws.code_length,
    laws.finite,
)

BOUND: tuple[Law, ...] = (bounds.rises, bounds.unit_sum, bounds.finite)
SIMULATED: tuple[Law, ...] = (bounds.both_sides,)  # beside those of a bound
CODED: tuple[Law, ...] = (laws.code_length,)  # as well
BIJECTION: tuple[Law, ...] = (bijections.round_trip, bijections.determinant, bijections.rounding)
DENSITY: tuple[Law, ...] = (bijections.samples, bijections.integral, bijections.finite)

STAGED: tuple[Law, ...] = (staged.joint, staged.first_values, laws.code_length, bounds.finite)

DIFFUSION: tuple[Law, ...] = (  # a bound term by term, with trajectories as importance samples
    diffusion.chain,
    diffusion.non_negative,
    diffusion.trajectories,
    functools.partial(bounds.both_sides, draws=1),
    functools.partial(bounds.unit_sum, method="trajectory_bound", summed=2**15),
    bounds.finite,
)


def of_members(law: Law) -> Law:
    """The law of p(x | z), which any z has to obey."""

    def rows(s: laws.Subject) -> Iterator[laws.Row]:
        return (replace(row, law=f"{row.law}, given z") for row in law(s.members))

    return rows


MIXTURE: tuple[Law, ...] = (*map(of_members, AUTOREGRESSIVE), laws.mixture, laws.code_length)


def laws_of(model: Any) -> tuple[Law, ...]:
    """What a certificate of this model checks; InputError where there is nothing to check or it is not built."""
    name, of_reals, found = type(model).__name__, model.kind == "density", ()
    if model.kind == "none":
        raise InputError(f"{name} has no likelihood: there is nothing to certify")
    if hasattr(model, "trajectory_bound"):
        found = DIFFUSION
    elif hasattr(model, "stages"):
        found = STAGED
    elif model.value == "exact" and hasattr(model, "sites"):
        found = AUTOREGRESSIVE
    elif model.value == "exact" and hasattr(model, "joints"):
        found = MIXTURE
    elif model.value == "bound" and hasattr(model, "tiny"):
        found = BOUND + SIMULATED * hasattr(model, "simulated") + CODED * (model.codec != "none")
    if isinstance(model, Bijective):
        found += BIJECTION + DENSITY * of_reals
    if not found:
        raise InputError(
            f"{name} neither generates site by site, nor bounds log p by random draws, in stages or by terms, nor is a"
            " bijection: it has no laws yet"
        )
    return found


def certify(run: Run, split: Split, examples: int, seed: int = 0) -> dict[str, Any]:
    """The certificate of a run: its laws on `examples` events spread over the split, extreme ones and samples."""
    begin, chosen = time.perf_counter(), laws_of(run.experiment.model)
    rows = spread(len(split), examples)
    real = take(split, rows, run.conditional)
    variables = jax.device_put(run.variables, jax.local_devices()[0])
    x = real["x"] if split.event.levels is None else real["x"].astype(np.int32)
    subject = laws.Subject(run.model, variables, x, real["cond"], seed)
    with jax.default_matmul_precision("highest"):
        found = [row for law in chosen for row in law(subject)]
    return {
        "system": run.experiment.system,
        "passed": all(row.passed for row in found),
        "step": run.step,
        "parameters": fingerprint.of_variables(run.variables),
        "config": certificate.config_hash(run.workdir),
        "dataset": split.dataset,
        "dataset_version": split.version,
        "split": split.split,
        "num_examples": len(rows),
        "seed": seed,
        "precision": f"compute {getattr(run.experiment.model, 'dtype', None) or 'float32'}, matmul precision highest",
        "rows": [_record(row) for row in found],
        "seconds": round(time.perf_counter() - begin, 1),
        **machine(),
        "versions": source.versions(),
        **source.revision(),
    }


def _record(row: laws.Row) -> dict[str, Any]:
    measured = row.measured if math.isfinite(row.measured) else None
    return {
        "law": row.law,
        "measured": measured,
        "limit": row.limit,
        "unit": row.unit,
        "passed": bool(row.passed),
        "note": row.note,
    }
