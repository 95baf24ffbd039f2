"""The result file: the measured numbers, the protocol, the code and the machine."""

import dataclasses
import json
import math
from typing import Any

import jax

from gen_jax.config_tree import to_tree
from gen_jax.data.prepared import ARRAYS, Split
from gen_jax.density import Carrying, Computing, Solving, num_parameters, takes_draws
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment
from gen_jax.ops.augment import phrase
from gen_jax.runs import provenance
from gen_jax.runs.likelihood import Result
from gen_jax.runs.provenance import machine
from gen_jax.runs.run import Run
from gen_jax.typing import Variables

FIELDS = """
    system dataset dataset_version split num_examples nats nats_per bits_per_dim unit stderr stderr_method kind value
    draws solver augment protocol certified file_bytes file distances weights_bytes parameters forward_passes seed steps
    seconds device cpu threads devices parallel fsdp versions git dirty config sources
    lengthened
""".split()  # noqa: SIM905  a list to read
# Taken from the `machine` of config.json.
ON = ("device", "cpu", "threads", "devices", "parallel", "fsdp")
# The values of fields that older files lack.
BEFORE_RECORDED = {
    "nats_per": "example",
    "unit": "bits/dim",
    "stderr_method": "independent examples",
    "file": None,
    "distances": None,
    "solver": None,
    "augment": None,
    "devices": 1,
    "parallel": "jit",
    "fsdp": 1,
    "sources": {},
    "lengthened": [],
}


def record(
    run: Run,
    split: Split,
    result: Result | None,
    file: dict[str, Any] | None = None,
    distances: dict[str, Any] | None = None,
    certified: bool = False,
) -> dict[str, Any]:
    """All fields of a result file: nats per example or step, bits_per_dim and its stderr, seconds, machine of training.

    - `result` is None for a model without likelihood; its fields are null then. For continuous data bits_per_dim is
      null and stderr is that of the nats.
    - `file` is the result of `file_size.measure` on the first examples of the split.
    - `distances` is the result of `distances.measure`.
    - `certified`: the work directory has a certificate of these weights, and all its laws hold.
    - `solver`: method, tolerance, largest number of steps and trace of the ODE solver behind an estimate.
    - `augment`: the random changes of training examples, as a phrase; null without any.
    - `sources`: the source files that define classes of the config.
    - `lengthened`: the experiments with fewer steps that the run was before, each with the step up to which.
    - `dirty`: the source had uncommitted changes, or training and evaluation used different sources or packages.

    InputError if the ODE of an example was not solved.
    """
    if result is not None and result.solver and math.isnan(result.nats):
        raise InputError(f"there is no mean of log p: {result.finding}")
    experiment, revision, digest = run.experiment, provenance.revision(), provenance.digest()
    seconds = max((row.get("seconds", 0.0) for row in run.workdir.metrics_rows()), default=0.0)
    trained_on = {**BEFORE_RECORDED, **(run.workdir.read().get("machine") or machine())}
    if trained_on.get("source", digest) != digest and revision["git"]:
        revision["dirty"] = True
    fields = {
        **stated(experiment, split, run.variables),
        "num_examples": (distances or {}).get("examples")
        if result is None
        else result.num_examples,
        "nats": None if result is None else result.nats,
        "bits_per_dim": None if result is None else result.bits_per_dim,
        "stderr": None if result is None or math.isnan(result.stderr) else result.stderr,
        "stderr_method": None if result is None else result.stderr_method,
        "protocol": protocol(experiment, run.step, split.nats_per),
        "certified": certified,
        "file_bytes": file and file["bytes"],
        "file": file,
        "distances": distances,
        "forward_passes": None,
        "seconds": round(seconds, 1),
        **{name: trained_on[name] for name in ON},
        "versions": provenance.versions(),
        **revision,
        "config": to_tree(experiment),
        "sources": dict(run.workdir.source_files()),
        "lengthened": run.workdir.lengthened,
    }
    return {name: fields[name] for name in FIELDS}


def stated(experiment: Experiment, split: Split, variables: Variables) -> dict[str, Any]:
    """The fields known before training; `variables` may be shapes."""
    model, leaves = experiment.model, jax.tree.leaves(variables)
    return {
        "system": experiment.system,
        "dataset": split.dataset,
        "dataset_version": split.version,
        "split": split.split,
        "num_examples": len(split),
        "nats_per": split.nats_per,
        "unit": split.unit,
        "kind": model.kind,
        "value": None if model.kind == "none" else model.value,
        "draws": experiment.evaluate.draws if takes_draws(model) else None,
        "solver": dataclasses.asdict(model.solver) if isinstance(model, Solving) else None,
        "augment": phrase(experiment.augment),
        "weights_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        "parameters": num_parameters(model, variables),
        "seed": experiment.seed,
        "steps": experiment.steps,
    }


def precision(model: Any) -> str:
    """The network's compute type and matmul precision, as a phrase."""
    dtype = (model.dtype if isinstance(model, Computing) else None) or "float32"
    return f"compute {dtype}, matmul precision highest"


def protocol(experiment: Experiment, step: int | str, nats_per: str = "example") -> str:
    """The protocol in one sentence: weights, precision, batch, training data if it differs, draws, solver."""
    evaluate = experiment.evaluate
    examples = f"first {evaluate.examples} examples of " if evaluate.examples else ""
    weights = f"averaged weights (decay {experiment.ema}) of step {step}"
    selection = f"best on {examples}validation every {evaluate.every} steps"
    if experiment.model.kind == "none" or experiment.data == ARRAYS:
        selection = "the last"
    order = f"batch {evaluate.batch_size}, every example once"
    if isinstance(experiment.model, Carrying) and experiment.model.carry:
        order = (
            f"one pass over the split in order, every value once, in {evaluate.batch_size} contiguous stream(s), each"
            " begun with nothing before it and its state handed on from window to window"
        )
    if nats_per == "step":
        past = "its whole past in the piece"
        if not (isinstance(experiment.model, Carrying) and experiment.model.carry):
            past = "its past in the window"
        order = f"batch {evaluate.batch_size}, every step of every piece once, given {past}; padding is not counted"
    sentence = f"{weights}, {selection}; {precision(experiment.model)}; {order}"
    if evaluate.data not in (None, experiment.data):
        selected = "trained" if experiment.data == ARRAYS else "trained and selected"
        sentence += f"; {selected} on {experiment.data.name}"
    if experiment.augment:
        sentence += f"; trained with {phrase(experiment.augment)}"
    if takes_draws(experiment.model):
        sentence += (
            f"; {evaluate.draws:,} draws an example, {evaluate.validation_draws:,} at validation"
        )
    if isinstance(experiment.model, Solving):
        solver = experiment.model.solver
        averaged = ", draws average log p" if takes_draws(experiment.model) else ""
        sentence += (
            f"; ODE by {solver.method}, tolerance {solver.tolerance:g}, at most {solver.max_steps:,} steps, each"
            f" example by itself, {solver.trace} trace{averaged}"
        )
    return sentence


def dumps(value: Any) -> str:
    """JSON with one field per line; ValueError at NaN."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
