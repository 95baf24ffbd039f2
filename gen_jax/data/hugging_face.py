"""Columns of a Hugging Face `datasets` object as arrays, for `fit` and `Fitted`; the package itself is not imported."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from gen_jax.errors import InputError, near


def from_datasets(
    dataset: Iterable[dict[str, Any]], x: str, cond: str | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The column `x` as examples (N, *event), and `cond`, if named, as their classes or conditions.

    Images become arrays (H, W, C). Any iterable of rows by column name will do, such as the first rows of a streamed
    data set, `dataset.take(1000)`. InputError for an unknown column, or if examples have different shapes.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in (x, cond) if name is not None}
    for row in dataset:
        for name, values in columns.items():
            if name not in row:
                raise InputError(
                    f"there is no column {name!r}{near(name, row)}; there are {', '.join(row)}"
                )
            values.append(_array(row[name]))
    arrays = [_stacked(name, values) for name, values in columns.items()]
    return arrays[0], arrays[1] if cond is not None else None


def _array(value: Any) -> np.ndarray:
    """A value as an array; an image, which knows its bands, with an axis of channels."""
    array = np.asarray(value)
    return array[..., None] if hasattr(value, "getbands") and array.ndim == 2 else array


def _stacked(name: str, values: list[np.ndarray]) -> np.ndarray:
    if not values:
        raise InputError("there are no examples")
    odd = [value.shape for value in values if value.shape != values[0].shape]
    if odd:
        raise InputError(f"column {name!r} has different shapes: {values[0].shape} and {odd[0]}")
    return np.stack(values)
