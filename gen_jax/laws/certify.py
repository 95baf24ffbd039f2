"""The laws on trained weights, at highest matmul precision, and the certificate made from them.

The laws depend on what `log_prob` is: an exact autoregressive mass, a mixture of such masses, a density, or a bound by
random draws, by one term of a sum (stages) or by a sum of terms (diffusion). Bijections and codecs add their own laws.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from gen_jax import fingerprint, processes, progress
from gen_jax.conditions import conditional, drawn, joined, parts_of
from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.density import (
    Autoregressive,
    Bijective,
    Chain,
    Latent,
    Solving,
    Staged,
    Weighted,
    takes_draws,
)
from gen_jax.errors import InputError
from gen_jax.laws import (
    autoregressive,
    bound,
    certificate,
    codec,
    dequantizer,
    diffusion,
    flow,
    mixture,
    staged,
)
from gen_jax.laws.row import Row
from gen_jax.laws.subject import Subject
from gen_jax.models.flow.dequantizers import VariationalDequantizer
from gen_jax.runs import provenance, results
from gen_jax.runs.provenance import machine
from gen_jax.runs.run import Run

Law = Callable[[Subject], Iterator[Row]]

CODED: tuple[Law, ...] = (codec.code_length,)
AUTOREGRESSIVE: tuple[Law, ...] = (
    autoregressive.causal,
    autoregressive.normalised,
    autoregressive.steps,
    autoregressive.martingale,
    *CODED,
    autoregressive.finite,
)
CONDITIONAL: tuple[Law, ...] = (autoregressive.depends,)
OF_MEMBERS: tuple[Law, ...] = tuple(law for law in AUTOREGRESSIVE if law not in CODED)
MIXTURE: tuple[Law, ...] = (*map(mixture.of_members, OF_MEMBERS), mixture.mean, *CODED)
DEPENDS: tuple[Law, ...] = (bound.depends,)
BOUND: tuple[Law, ...] = (bound.rises, bound.unit_sum, bound.finite)
STAGED: tuple[Law, ...] = (staged.joint, staged.each_stage, *CODED, bound.finite)
BIJECTION: tuple[Law, ...] = (flow.round_trip, flow.determinant, flow.rounding)
DEQUANTISED: tuple[Law, ...] = (bound.rises, flow.unit_sum, bound.finite)
OF_ONE_DRAW: tuple[Law, ...] = (flow.unit_sum, bound.finite)
ESTIMATE: tuple[Law, ...] = (flow.solver, flow.trace, flow.averages)
VARIATIONAL: tuple[Law, ...] = (
    dequantizer.density,
    dequantizer.weight,
    dequantizer.both_sides,
)
OF_REALS: tuple[Law, ...] = (flow.samples, flow.integral, flow.finite)
DIFFUSION: tuple[Law, ...] = (
    diffusion.chain,
    diffusion.non_negative,
    diffusion.trajectories,
    diffusion.both_sides,
    diffusion.unit_sum,
    bound.finite,
)
CONTINUOUS: tuple[Law, ...] = (diffusion.limit,)


def laws_of(model: Any) -> tuple[Law, ...]:
    """The laws that a certificate of this model checks; InputError if there are none."""
    name, kind, coded = type(model).__name__, model.kind, model.codec != "none"
    depends = DEPENDS if conditional(model) else ()
    if kind == "none":
        raise InputError(f"{name} has no likelihood: there is nothing to certify")
    if isinstance(model, Bijective):
        estimate = ESTIMATE if isinstance(model, Solving) else ()
        dequantised = OF_ONE_DRAW if estimate else DEQUANTISED
        laws = (*BIJECTION, *OF_REALS) if kind == "density" else (*dequantised, *BIJECTION)
        if isinstance(getattr(model, "dequantizer", None), VariationalDequantizer):
            laws = (*laws, *VARIATIONAL)
        return (*estimate, *laws, *depends)
    if isinstance(model, Chain):
        continuous = () if model.timesteps else CONTINUOUS
        return (*DIFFUSION, *continuous, *depends, *(CODED if coded else ()))
    if isinstance(model, Staged):
        return STAGED
    if model.value == "exact" and isinstance(model, Autoregressive):
        return (*AUTOREGRESSIVE, *(CONDITIONAL if conditional(model) else ()))
    if model.value == "exact" and isinstance(model, Latent):
        return MIXTURE
    if model.value == "bound" and takes_draws(model):
        sides = (bound.both_sides,) if isinstance(model, Weighted) else ()
        return (*BOUND, *sides, *depends, *(CODED if coded else ()))
    raise InputError(
        f"{name} is not autoregressive, not a bijection, and does not bound log p by random draws, stages or terms:"
        " there are no laws for it yet"
    )


def certify(run: Run, split: Split, examples: int, seed: int = 0) -> dict[str, Any]:
    """The certificate of a run: its laws on `examples` events spread over the split, extreme events and samples.

    Conditions that do not come with the data are drawn at random. InputError in a run of several processes.
    """
    processes.check_one("certification")
    begin, chosen = time.perf_counter(), laws_of(run.experiment.model)
    indices = spread(len(split), examples)
    real = take(split, indices, run.conditional)
    variables = jax.device_put(run.variables, jax.local_devices()[0])
    x = real["x"] if split.event.levels is None else real["x"].astype(np.int32)
    values = parts_of(run.model.model, drawn(run.model.model, len(x), seed)).values
    subject = Subject(run.model, variables, x, joined(real["cond"], values), seed)
    with jax.default_matmul_precision("highest"):
        rows = [row for law in progress.counted(chosen, "laws") for row in law(subject)]
    return {
        "system": run.experiment.system,
        "passed": all(row.passed for row in rows),
        "step": run.step,
        "parameters": fingerprint.of_variables(run.variables),
        "config": certificate.config_hash(run.workdir),
        "dataset": split.dataset,
        "dataset_version": split.version,
        "split": split.split,
        "num_examples": len(indices),
        "seed": seed,
        "precision": results.precision(run.experiment.model),
        "rows": [_record(row) for row in rows],
        "seconds": round(time.perf_counter() - begin, 1),
        **machine(),
        "versions": provenance.versions(),
        **provenance.revision(),
    }


def _record(row: Row) -> dict[str, Any]:
    measured = row.measured if math.isfinite(row.measured) else None
    return {
        "law": row.law,
        "measured": measured,
        "limit": row.limit,
        "unit": row.unit,
        "passed": bool(row.passed),
        "note": row.note,
    }
