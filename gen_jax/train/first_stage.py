"""A frozen first stage: a second model is trained on top of a finished run, which the config names.

The model has a field `first`, the first stage's module, and holds that run's evaluated weights in its collection
`frozen/first_stage`: after training nothing needs the other work directory any more.
"""

import dataclasses
from pathlib import Path

import jax

from gen_jax import classes
from gen_jax.config_tree import differences, to_tree
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment
from gen_jax.runs.run import load_run
from gen_jax.runs.state import TrainState
from gen_jax.train.validation import unimproved
from gen_jax.typing import Variables


def load(experiment: Experiment, trust: bool = False) -> Variables | None:
    """The first stage's variables, or None if the model has no first stage; the experiment's classes are trusted.

    InputError if no first stage is named, or its work directory is missing, unfinished or of another model.
    """
    path, model = experiment.first_stage, experiment.model
    fields = {
        field.name for field in dataclasses.fields(model)
    }  # a method may also be called `first`
    first = model.first if "first" in fields else None
    if first is None and path is None:
        return None
    if first is None:
        raise InputError(f"{experiment.system} has no first stage, but first_stage names {path}")
    name = type(first).__name__
    if path is None:
        raise InputError(
            f"{experiment.system} needs a trained {name}: name its work directory as first_stage"
        )
    try:
        run = load_run(Path(path), trust or {*classes.names(to_tree(experiment))})
    except InputError as error:
        raise InputError(f"first_stage: {error}") from error
    steps = run.experiment.steps
    rows = run.workdir.metrics_rows()
    done = max((row["step"] for row in rows), default=run.step)
    validations = {
        row["step"]: row.get("bits_per_dim", row["nats"])
        for row in rows
        if row["split"] == "validation" and "nats" in row
    }
    if done < steps and unimproved(validations, done, run.experiment.evaluate) is None:
        raise InputError(
            f"first_stage: {path} is not trained to the end (step {done} of {steps}); continue it with the"
            " `gen-jax train` that started it"
        )
    lines = differences(to_tree(run.experiment.model), to_tree(first))
    if lines:
        raise InputError(
            f"first_stage: {path} holds another model than model.first. Differences (there -> asked):"
            f" {'; '.join(lines)}"
        )
    return run.variables


def put(state: TrainState, frozen: Variables | None) -> TrainState:
    """The state with the first stage's weights instead of the initial ones, sharded in the same way."""
    if frozen is None:
        return state
    initial = state.collections["frozen"]["first_stage"]
    weights = jax.tree.map(lambda old, new: jax.device_put(new, old.sharding), initial, frozen)
    return state._replace(collections={**state.collections, "frozen": {"first_stage": weights}})
