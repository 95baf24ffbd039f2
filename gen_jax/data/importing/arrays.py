"""Checks on the arrays of a file: shapes, integers, labels."""

import numpy as np
from jaxtyping import Int32, Integer, Shaped

from gen_jax.errors import InputError

MAX_CLASSES = 2**16


def examples(array: Shaped[np.ndarray, "..."], origin: str) -> Integer[np.ndarray, "N ..."]:
    """Integers (N, D) or (N, H, W, C), a grey image getting its channel; InputError for anything else."""
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        floating = np.issubdtype(array.dtype, np.floating)
        nan = " and holds NaN" if floating and np.isnan(array).any() else ""
        raise InputError(
            f"{origin} is {array.dtype}{nan}; only integers are imported, as levels 0, 1, 2, ..."
        )
    if array.ndim not in (2, 3, 4):
        raise InputError(
            f"{origin} has shape {array.shape}; it should be (N, D), (N, H, W) or (N, H, W, C)"
        )
    if not array.size:
        raise InputError(f"{origin} has shape {array.shape}: it holds no examples")
    return array[..., None] if array.ndim == 3 else array


def class_labels(
    array: Shaped[np.ndarray, "..."], origin: str, count: int
) -> Int32[np.ndarray, " N"]:
    """One class an example; InputError where they are no integers, of another length or out of range."""
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{origin} is {array.dtype}; labels are integers 0, 1, 2, ...")
    if array.shape != (count,):
        raise InputError(f"{origin} has shape {array.shape}, there are {count} examples to label")
    if array.min() < 0 or array.max() >= MAX_CLASSES:
        raise InputError(
            f"{origin}: labels run from {array.min()} to {array.max()}, they should lie in 0..{MAX_CLASSES - 1}"
        )
    return array.astype(np.int32)
