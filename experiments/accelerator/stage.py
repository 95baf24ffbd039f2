"""The setting of a stage, and functions that stages share: timing and random weights."""

import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import lines
import numpy as np


class LeftOutError(Exception):
    """Raised by a case that is not worth its time, with the reason."""


@dataclass
class Setting:
    """What a case can use: rows of this run so far, `earlier` rows in the file, data files, seconds `left`.

    `going_on` appends a row before the case is done.
    """

    check: bool
    variant: str
    until: float
    data: list[str]
    rows: list[lines.Row]
    earlier: list[lines.Row]
    going_on: Callable[[dict[str, Any]], None]

    @property
    def left(self) -> float:
        """Seconds to the end of the stage."""
        return self.until - time.time()

    def row(self, stage: str, case: str) -> lines.Row:
        """The row of an earlier case of this run, or {} if there is none."""
        rows = [row for row in self.rows if (row["stage"], row["case"]) == (stage, case)]
        return rows[-1] if rows else {}


def seconds_a_call(call: Callable[[], Any], enough: float = 2.0) -> float:
    """Time per call in a series of about `enough` seconds, so that the device's queue never runs empty.

    The smaller of two such series, after calls that are not timed.
    """
    jax.block_until_ready(call())

    def series(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count - 1):
            call()
        jax.block_until_ready(call())
        return (time.perf_counter() - begin) / count

    count = min(max(math.ceil(enough / 2 / series(1)), 1), 200)
    return min(series(count), series(count))


def drawn(shapes: Any) -> Any:
    """Random weights by numpy, seeded by a leaf's name: kernels of variance 1 / fan-in, scales near 1, small biases."""

    def leaf(path, like):
        name = jax.tree_util.keystr(path)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        z = rng.standard_normal(like.shape, np.float32)
        if len(like.shape) > 1:
            return z / np.float32(np.sqrt(np.prod(like.shape[:-1])))
        return np.float32(0.1) * z + np.float32("scale" in name)

    return jax.tree_util.tree_map_with_path(leaf, shapes)
