"""A frozen first stage: a second model is trained on top of another, finished run, which the config names.

The model has a field `first`, the first stage's module, and keeps its evaluated weights as `frozen/first_stage` in its
own collections: after training nothing needs the other work directory any more.
"""

import dataclasses
from pathlib import Path

import jax

from gen_jax import classes
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment, differences, to_tree
from gen_jax.runs.run import load_run
from gen_jax.runs.state import TrainState
from gen_jax.typing import Variables


def load(experiment: Experiment, trust: bool = False) -> Variables | None:
    """The first stage's variables, None where the model needs none; classes of the experiment itself are trusted.

    InputError where none is named, its work directory is missing or not trained to the end, or is of another model.
    """
    path, model = experiment.first_stage, experiment.model
    fields = {field.name for field in dataclasses.fields(model)}  # a method may have that name
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
    done = max((row["step"] for row in run.workdir.metrics_rows()), default=run.step)
    if done < steps:
        raise InputError(
            f"first_stage: {path} is not trained to the end (step {done} of {steps}); the `gen-jax train` that began it"
            " goes on"
        )
    lines = differences(to_tree(run.experiment.model), to_tree(first))
    if lines:
        raise InputError(
            f"first_stage: {path} holds another model than model.first. Differences (there -> asked):"
            f" {'; '.join(lines)}"
        )
    return run.variables


def put(state: TrainState, frozen: Variables | None) -> TrainState:
    """The state with the first stage's weights in place of initial ones, placed as those."""
    if frozen is None:
        return state
    initial = state.collections["frozen"]["first_stage"]
    held = jax.tree.map(lambda old, new: jax.device_put(new, old.sharding), initial, frozen)
    return state._replace(collections={**state.collections, "frozen": {"first_stage": held}})
