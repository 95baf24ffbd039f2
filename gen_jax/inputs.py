"""What a model is given through `density.functional`: examples, classes or other conditions, a temperature, numbers.

Shapes and types are refused when a program is traced, values where they are known: each in one sentence. Inside `jit`
values are not known; then the rows of a result that stand on wrong ones are NaN, or of integers -1, which is no level.
"""

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Shaped

from gen_jax.errors import InputError
from gen_jax.typing import Event

# logits divided by it and scales multiplied by it stay numbers in float32
LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 1e-30, 1e30


class Given(NamedTuple):
    """An input that was looked at, and which of its rows are sound; None: all are known to be."""

    values: Any
    sound: Bool[Array, "*rows"] | None = None


def examples(event: Event | None, x: ArrayLike) -> Given:
    """A batch of events; booleans count as 0 and 1, integers as reals. InputError on anything else.

    Without an event they are not checked.
    """
    if event is None:
        return Given(jnp.asarray(x))
    return _events(event, x, "examples")


def condition(
    name: str, classes: int, event: Event | None, cond: ArrayLike | None, n: int
) -> Given:
    """What each of n examples is conditioned on: one of `classes`, else one `event`, else nothing.

    InputError, which names the model, where it is missing, superfluous or of another length or type.
    """
    event = None if classes else event
    if cond is None:
        if classes:
            raise InputError(
                f"{name} has {classes} classes and needs one for each example, not nothing"
            )
        if event is not None:
            raise InputError(
                f"{name} needs a condition of shape {event.shape} for each example, not nothing"
            )
        return Given(None)
    if not classes and event is None:
        raise InputError(f"{name} is not conditional: it takes no cond")
    shape = np.shape(cond)
    if shape[:1] != (n,) or (classes and len(shape) > 1):
        one = "class" if classes else "condition"
        raise InputError(
            f"cond has shape {shape}: there is to be one {one} for each of {n} examples"
        )
    return _classes(classes, cond) if event is None else _events(event, cond, "conditions")


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """Inside it, or under it as a decorator, types and ranks are promoted even where the process refuses to."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def nothing(program: Callable[..., Array], *of: Array | None) -> Array:
    """The result for no examples: its type and shape are those of one example's."""
    one = [None if rows is None else jnp.zeros((1, *rows.shape[1:]), rows.dtype) for rows in of]
    like = jax.eval_shape(program, *one)
    return jnp.zeros((0, *like.shape[1:]), like.dtype)


def any_condition(classes: int, event: Event | None, n: int) -> Array | None:
    """Zeros of the shape and type of n examples' classes or condition events; None without either."""
    if classes or event is None:
        return jnp.zeros(n, jnp.int32) if classes else None
    return jnp.zeros((n, *event.shape), jnp.float32 if event.levels is None else jnp.int32)


def temperature(value: ArrayLike) -> Given:
    """A positive number that float32 computes with, or 0, the mode, which stands as the least. InputError on others."""
    if np.ndim(value) or not jnp.issubdtype(jnp.result_type(value), jnp.number):
        raise InputError(f"a temperature is one number, not {value!r}")
    known = _known(value)
    if known is None:
        t = jnp.asarray(value)
        sound = (t == 0) | (t >= LEAST_TEMPERATURE) & (t <= GREATEST_TEMPERATURE)
        return Given(jnp.where(t == 0, LEAST_TEMPERATURE, t), sound)
    if known == 0:
        return Given(LEAST_TEMPERATURE)
    if not LEAST_TEMPERATURE <= known <= GREATEST_TEMPERATURE:
        raise InputError(
            f"a temperature is 0, for the mode, or from {LEAST_TEMPERATURE:g} to {GREATEST_TEMPERATURE:g}, as float32"
            f" has it, not {known.item():g}"
        )
    return Given(float(known))


def number(n: Any, what: str, least: int = 0) -> int:
    """A whole number of at least `least`; InputError on others."""
    try:
        whole = operator.index(n)
    except TypeError:
        whole = least - 1
    if whole < least:
        raise InputError(f"the number of {what} is a whole number of at least {least}, not {n!r}")
    return whole


def answered(result: Shaped[Array, "B *rest"], *given: Given) -> Shaped[Array, "B *rest"]:
    """The result with nothing in the rows that stand on unsound ones: NaN, or -1 of integers."""
    nothing = jnp.nan if jnp.issubdtype(result.dtype, jnp.inexact) else -1
    for _, sound in given:
        if sound is not None:
            rows = sound.reshape(*sound.shape, *(1,) * (result.ndim - sound.ndim))
            result = jnp.where(rows, result, jnp.asarray(nothing, result.dtype))
    return result


def averaged(results: Any, *given: Given) -> Any:
    """Means over a batch, NaN where one of its rows is unsound; else to the bit what they were, and their gradients."""
    for _, sound in given:
        if sound is not None:
            nothing = jnp.where(jnp.all(sound), 0.0, jnp.nan)
            results = jax.tree.map(
                lambda mean, nothing=nothing: (
                    mean + nothing.astype(mean.dtype)
                    if jnp.issubdtype(jnp.result_type(mean), jnp.inexact)
                    else mean
                ),
                results,
            )
    return results


def _events(event: Event, x: ArrayLike, what: str) -> Given:
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
    return Given(x, sound)


def _classes(classes: int, cond: ArrayLike) -> Given:
    dtype = _dtype(cond)
    if dtype.kind not in "iub":
        raise InputError(f"classes are {dtype}, the model's are integers 0..{classes - 1}")
    known = _known(cond)
    if known is None:
        cond = jnp.asarray(cond)
        cond = cond.astype(jnp.uint8) if cond.dtype == bool else cond
        return Given(cond, _within(cond, classes))
    if known.size and (known.min() < 0 or known.max() >= classes):
        raise InputError(
            f"classes run from {known.min()} to {known.max()}, the model's from 0 to {classes - 1}"
        )
    return Given(jnp.asarray(cond).astype(jnp.int32))


def _within(x: Shaped[Array, "*shape"], levels: int) -> Bool[Array, "*shape"] | None:
    """Which integers are 0..levels-1; None where their type has no others."""
    limits = jnp.iinfo(x.dtype)
    low = x >= 0 if limits.min < 0 else None
    high = x < levels if limits.max >= levels else None
    return high if low is None else low if high is None else low & high


def _known(x: ArrayLike) -> np.ndarray | None:
    """The values, where this process can read them now."""
    if isinstance(x, Tracer) or not getattr(x, "is_fully_addressable", True):
        return None
    return np.asarray(jax.device_get(x))


def _dtype(x: Any) -> np.dtype:
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
