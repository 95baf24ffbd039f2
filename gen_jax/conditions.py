"""What an example is conditioned on: the label that comes with the data, and values of other events.

A model states what it takes: `num_classes`, and `conditions`, an event for each other value, such as codes, an image,
a token or a vector of features. `cond` holds these for a batch. If an example is given one thing only, `cond` is its
array alone; if it is given several, a `Condition`; if nothing, None.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gen_jax.typing import Event


class Condition(NamedTuple):
    """The label of each example, if the model has classes, and a batch of each event of `conditions`, in order."""

    label: Any = None  # (B,) integers
    values: tuple[Any, ...] = ()


Cond = Array | np.ndarray | Condition | None


def events_of(model: Any) -> tuple[Event, ...]:
    """The events that the model states in `conditions`; none if it states nothing."""
    return tuple(getattr(model, "conditions", ()))


def conditional(model: Any) -> bool:
    """Whether the model is given anything."""
    return bool(model.num_classes or events_of(model))


def joined(label: Any, values: Sequence[Any] = ()) -> Any:
    """`cond` for this label (None: no classes) and these values."""
    if label is None and len(values) == 1:
        return values[0]
    return Condition(label, tuple(values)) if values else label


def label_of(cond: Cond) -> Any:
    """The label of each example in the `cond` of a model with classes."""
    return cond.label if isinstance(cond, Condition) else cond


def values_of(cond: Cond) -> tuple[Any, ...]:
    """The values in the `cond` of a model with `conditions`."""
    return cond.values if isinstance(cond, Condition) else (cond,)


def parts_of(model: Any, cond: Cond) -> Condition:
    """`cond` with the label and the values apart."""
    label = label_of(cond) if model.num_classes else None
    return Condition(label, values_of(cond) if events_of(model) else ())


def one_hot(model: Any, cond: Cond) -> tuple[Array, ...]:
    """The class of each example as a vector (B, K), as what a network is called with; nothing without classes."""
    return (jax.nn.one_hot(label_of(cond), model.num_classes),) if model.num_classes else ()


def rows_of(cond: Any, rows: Any) -> Any:
    """These rows of a condition."""
    return jax.tree.map(lambda part: part[rows], cond)


def zeros(model: Any, n: int) -> Any:
    """Zeros in the shapes and types of the conditions of n examples."""

    def of(event: Event) -> Array:
        return jnp.zeros((n, *event.shape), jnp.float32 if event.levels is None else jnp.int32)

    label = jnp.zeros(n, jnp.int32) if model.num_classes else None
    return joined(label, [of(event) for event in events_of(model)])


def drawn(model: Any, n: int, seed: int = 0) -> Any:
    """Conditions of n examples: all classes in turn, and random values of each event."""
    rng = np.random.default_rng((seed, 2))

    def of(event: Event) -> np.ndarray:
        shape = (n, *event.shape)
        if event.levels is None:
            return rng.normal(size=shape).astype(np.float32)
        return rng.integers(0, event.levels, shape, np.int32)

    classes = model.num_classes
    label = np.arange(n, dtype=np.int32) % classes if classes else None
    return joined(label, [of(event) for event in events_of(model)])


def changed(model: Any, cond: Any, seed: int = 0) -> list[Any]:
    """For each part of a condition: the condition in which every number of this part has another value."""
    rng, (label, values) = np.random.default_rng((seed, 3)), parts_of(model, cond)

    def other(part: Any, levels: int | None) -> np.ndarray:
        part = np.asarray(part)
        if levels is None:
            return part + rng.normal(size=part.shape).astype(part.dtype)
        steps = rng.integers(1, levels, part.shape)
        return ((part.astype(np.int64) + steps) % levels).astype(part.dtype)

    results = [] if label is None else [joined(other(label, model.num_classes), values)]
    for i, event in enumerate(events_of(model)):
        moved = other(values[i], event.levels)
        results.append(joined(label, [*values[:i], moved, *values[i + 1 :]]))
    return results
