"""Checks of the inputs to `density.functional`: examples, classes or other conditions, a temperature, numbers.

Wrong shapes and types are refused when a program is traced, wrong values if they are known, each with one sentence.
Inside `jit` values are not known; rows of a result that depend on wrong values are then NaN, or -1 for integers.
"""

import contextlib
import functools
import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Shaped

from gen_jax.conditions import Condition, joined
from gen_jax.errors import InputError
from gen_jax.typing import Event

# logits divided by such a temperature and scales multiplied by it are finite in float32
LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 1e-30, 1e30


class Checked(NamedTuple):
    """An input after its check, and whether each of its rows is `sound`; None: all rows are known to be."""

    values: Any
    sound: Bool[Array, "*rows"] | None = None


def examples(event: Event | None, x: ArrayLike) -> Checked:
    """A batch of events; booleans count as 0 and 1, integers as reals. InputError on anything else.

    Without an event there is no check.
    """
    if event is None:
        return Checked(jnp.asarray(x))
    return _events(event, x, "examples")


def condition(
    name: str, classes: int, events: Sequence[Event], cond: ArrayLike | Condition | None, n: int
) -> Checked:
    """The condition of each of n examples: one of `classes`, if any, and a value of each of `events`.

    InputError, which names the model, if a part is missing, superfluous, or of another length or type.
    """
    if not isinstance(cond, Condition):
        if classes and events and cond is not None:
            raise InputError(
                f"{name} takes a class and {len(events)} other conditions: give them as a Condition"
            )
        values = () if cond is None or not events else (cond,)
        cond = Condition(None if events else cond, values)
    label, values = cond
    if classes and label is None:
        raise InputError(
            f"{name} has {classes} classes and needs one for each example, not nothing"
        )
    if events and not values:
        shapes = " and ".join(str(event.shape) for event in events)
        raise InputError(
            f"{name} needs a condition of shape {shapes} for each example, not nothing"
        )
    if not classes and not events and (label is not None or values):
        raise InputError(f"{name} is not conditional: it takes no cond")
    if not classes and label is not None:
        raise InputError(f"{name} has no classes: it takes no label")
    if len(values) != len(events):
        raise InputError(
            f"{name} takes {len(events)} conditions besides a class, not {len(values)}"
        )
    checked = [] if label is None else [_classes(classes, _rows(label, n, "class"))]
    for event, value in zip(events, values, strict=True):
        checked.append(_events(event, _rows(value, n, "condition"), "conditions"))
    parts = [part.values for part in checked]
    both = joined(parts[0], parts[1:]) if classes else joined(None, parts)
    sound = [part.sound for part in checked if part.sound is not None]
    return Checked(both, functools.reduce(operator.and_, sound) if sound else None)


def counted(model: Any, sizes: Any) -> tuple[Any, ...]:
    """`sizes`, or nothing if there are none; InputError if the model has no probability of first values alone."""
    if sizes is not None and "sizes" not in inspect.signature(model.loss).parameters:
        raise InputError(
            f"{type(model).__name__} takes whole examples, and these are padded: pieces need an autoregressive model"
        )
    return () if sizes is None else (sizes,)


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """A context, or decorator, in which types and ranks are promoted even if the process is set to refuse that."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def empty_result(program: Callable[..., Array], *inputs: Any) -> Array:
    """The result of a program for no examples, in the type and shape that one example gives."""
    example = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), inputs)
    result = jax.eval_shape(program, *example)
    return jnp.zeros((0, *result.shape[1:]), result.dtype)


def temperature(value: ArrayLike) -> Checked:
    """A positive number within float32's range, or 0 for the mode, which becomes the least. InputError on others."""
    if np.ndim(value) or not jnp.issubdtype(jnp.result_type(value), jnp.number):
        raise InputError(f"a temperature is one number, not {value!r}")
    known = _known(value)
    if known is None:
        t = jnp.asarray(value)
        sound = (t == 0) | (t >= LEAST_TEMPERATURE) & (t <= GREATEST_TEMPERATURE)
        return Checked(jnp.where(t == 0, LEAST_TEMPERATURE, t), sound)
    if known == 0:
        return Checked(LEAST_TEMPERATURE)
    if not LEAST_TEMPERATURE <= known <= GREATEST_TEMPERATURE:
        raise InputError(
            f"a temperature is 0, for the mode, or from {LEAST_TEMPERATURE:g} to {GREATEST_TEMPERATURE:g}, as float32"
            f" has it, not {known.item():g}"
        )
    return Checked(float(known))


def number(n: Any, what: str, least: int = 0) -> int:
    """A whole number of at least `least`; InputError on others."""
    try:
        whole = operator.index(n)
    except TypeError:
        whole = least - 1
    if whole < least:
        raise InputError(f"the number of {what} is a whole number of at least {least}, not {n!r}")
    return whole


def marked(result: Shaped[Array, "B *rest"], *inputs: Checked) -> Shaped[Array, "B *rest"]:
    """The result, with NaN (or -1 if it is of integers) in the rows whose inputs are not sound."""
    wrong = jnp.nan if jnp.issubdtype(result.dtype, jnp.inexact) else -1
    for _, sound in inputs:
        if sound is not None:
            rows = sound.reshape(*sound.shape, *(1,) * (result.ndim - sound.ndim))
            result = jnp.where(rows, result, jnp.asarray(wrong, result.dtype))
    return result


def marked_mean(results: Any, *inputs: Checked) -> Any:
    """Means over a batch: NaN if any row is not sound, else unchanged bit for bit, with their gradients."""
    for _, sound in inputs:
        if sound is not None:
            addend = jnp.where(jnp.all(sound), 0.0, jnp.nan)
            results = jax.tree.map(
                lambda mean, addend=addend: (
                    mean + addend.astype(mean.dtype)
                    if jnp.issubdtype(jnp.result_type(mean), jnp.inexact)
                    else mean
                ),
                results,
            )
    return results


def _events(event: Event, x: ArrayLike, what: str) -> Checked:
    shape, dtype = np.shape(x), _dtype(x)
    if shape == event.shape:
        raise InputError(f"{what} have no axis for the batch: one of them is x[None]")
    reason = event.misfit(shape, dtype, what)
    if reason:
        raise InputError(reason)
    known = _known(x)
    if known is not None:
        reason = event.outside(known, what)
        if reason:
            raise InputError(reason)
    x = jnp.asarray(x)
    if event.levels is None:
        x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
        right = jnp.isfinite(x) if known is None else None
    else:
        x = x.astype(jnp.uint8) if x.dtype == bool else x
        right = _within(x, event.levels) if known is None else None
    sound = None if right is None else jnp.all(right, axis=tuple(range(1, x.ndim)))
    return Checked(x, sound)


def _rows(part: ArrayLike, n: int, what: str) -> ArrayLike:
    shape = np.shape(part)
    if shape[:1] != (n,) or (what == "class" and len(shape) > 1):
        raise InputError(
            f"cond has shape {shape}: there is to be one {what} for each of {n} examples"
        )
    return part


def _classes(classes: int, cond: ArrayLike) -> Checked:
    dtype = _dtype(cond)
    if dtype.kind not in "iub":
        raise InputError(f"classes are {dtype}, the model's are integers 0..{classes - 1}")
    known = _known(cond)
    if known is None:
        cond = jnp.asarray(cond)
        cond = cond.astype(jnp.uint8) if cond.dtype == bool else cond
        return Checked(cond, _within(cond, classes))
    if known.size and (known.min() < 0 or known.max() >= classes):
        raise InputError(
            f"classes run from {known.min()} to {known.max()}, the model's from 0 to {classes - 1}"
        )
    return Checked(jnp.asarray(cond).astype(jnp.int32))


def _within(x: Shaped[Array, "*shape"], levels: int) -> Bool[Array, "*shape"] | None:
    """Whether each integer is one of 0..levels-1; None if their type has no others."""
    limits = jnp.iinfo(x.dtype)
    low = x >= 0 if limits.min < 0 else None
    high = x < levels if limits.max >= levels else None
    return high if low is None else low if high is None else low & high


def _known(x: ArrayLike) -> np.ndarray | None:
    """The values, if this process can read them now."""
    if isinstance(x, Tracer) or not getattr(x, "is_fully_addressable", True):
        return None
    return np.asarray(jax.device_get(x))


def _dtype(x: Any) -> np.dtype:
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
