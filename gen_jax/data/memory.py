"""Examples in memory as a split: arrays with their classes or conditions, checked against a model."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from gen_jax import inputs
from gen_jax.conditions import Condition, events_of
from gen_jax.data.prepared import ARRAYS, Split
from gen_jax.errors import InputError

Rows = ArrayLike | Sequence[Any]  # nested lists too
Given = Rows | Condition | None


def split_of(model: Any, x: Rows, cond: Given, name: str) -> Split:
    """Checked examples with their classes or conditions, in the types of a prepared data set."""
    checked = inputs.examples(model.event, x if isinstance(x, jax.Array) else np.asarray(x))
    dtype = np.float32 if model.event.levels is None else np.min_scalar_type(model.event.levels - 1)
    values = np.asarray(jax.device_get(checked.values)).astype(dtype)
    if not len(values):
        raise InputError("there are no examples")
    labels = condition(model, cond, len(values))
    return Split(ARRAYS.name, "", name, values, labels, model.event, model.num_classes)


def condition(model: Any, cond: Given, n: int) -> Any:
    """The checked classes and conditions of n examples."""
    name, events = type(model).__name__, events_of(model)
    checked = inputs.condition(name, model.num_classes, events, as_arrays(cond), n).values
    return jax.tree.map(lambda part: np.asarray(jax.device_get(part)), checked)


def as_arrays(cond: Given) -> Any:
    """Classes and conditions as arrays, which may come as nested lists."""
    if isinstance(cond, Condition):
        return Condition(as_arrays(cond.label), tuple(map(as_arrays, cond.values)))
    return cond if cond is None or isinstance(cond, jax.Array) else np.asarray(cond)
