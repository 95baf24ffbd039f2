"""The weights with which training begins, if they are those of another trained model: warm start and fine-tuning.

Weights and their average begin as the other model's averaged weights, the optimiser and the schedule anew. Collections
that the loss keeps (statistics, codebooks, counts) begin as the other model's; a carry, a step counter and a frozen
first stage do not.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax import classes
from gen_jax.config_tree import to_tree
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment
from gen_jax.runs import weights
from gen_jax.runs.run import load_run, variable_shapes
from gen_jax.runs.state import TrainState
from gen_jax.typing import Variables

ANEW = ("carry", "schedule", "frozen")
SHOWN = 3  # differences in a message


def load(experiment: Experiment, trust: bool = False) -> Variables | None:
    """The weights of the folder that `init_from` names, or None; the experiment's classes are trusted.

    InputError if the folder is no trained model, or its weights do not fit.
    """
    path = experiment.init_from
    if path is None:
        return None
    try:
        run = load_run(Path(path), trust or {*classes.names(to_tree(experiment))})
    except InputError as error:
        raise InputError(f"init_from: {error}") from error
    return fitting(experiment, run.variables, path)


def fitting(experiment: Experiment, variables: Variables, where: str) -> Variables:
    """The variables that training takes over; InputError if their names and shapes are not those of the model."""
    taken = _taken(variables)
    there, needed = _shapes(taken), _shapes(_taken(variable_shapes(experiment)))
    lines = [
        f"{name}: {there.get(name, 'none')} -> {needed.get(name, 'none')}"
        for name in sorted(there.keys() | needed.keys())
        if there.get(name) != needed.get(name)
    ]
    if lines:
        more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise InputError(
            f"init_from: the weights of {where} do not fit {experiment.system}. Shapes (there -> needed):"
            f" {'; '.join(lines[:SHOWN])}{more}"
        )
    return taken


def put(state: TrainState, experiment: Experiment, variables: Variables | None) -> TrainState:
    """The state with these variables instead of the initial ones, sharded in the same way."""
    if variables is None:
        return state

    def placed(initial: Any, taken: Any) -> Any:
        # A copy: the train step donates weights and average, which must not share memory.
        copy = lambda old, new: jax.device_put(jnp.array(new, old.dtype), old.sharding)  # noqa: E731
        return jax.tree.map(copy, initial, taken)

    params, ema = (placed(state.params, variables["params"]) for _ in range(2))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state.opt_state)
    init = jax.jit(experiment.transformation().init, out_shardings=shardings)
    names = variables.keys() - {"params"}
    kept = {name: placed(state.collections[name], variables[name]) for name in names}
    collections = {**state.collections, **kept}
    return state._replace(params=params, ema=ema, opt_state=init(params), collections=collections)


def _taken(variables: Variables) -> dict[str, Any]:
    return {name: tree for name, tree in variables.items() if name not in ANEW}


def _shapes(variables: Variables) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in weights.named(dict(variables)).items()}
