"""Receptive fields as Boolean maps: reach[r, c] holds the pixels of the image that a feature at (r, c) depends on.

The statement of a paper's layer graph, independent of the network that computes it: a convolution is a union over its
window.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool

Reach = Bool[np.ndarray, "_h _w H W"]


def pixels(height: int, width: int) -> Reach:
    """Every pixel reaches itself."""
    return np.eye(height * width, dtype=bool).reshape(height, width, height, width)


def window(reach: Reach, offsets: Iterable[tuple[int, int]], stride: int = 1) -> Reach:
    """y[r, c] reads x[stride r + dr, stride c + dc] for all offsets inside the image."""
    height, width = reach.shape[0] // stride, reach.shape[1] // stride
    out = np.zeros((height, width, *reach.shape[2:]), bool)
    for dr, dc in offsets:
        rows, columns = stride * np.arange(height) + dr, stride * np.arange(width) + dc
        r = np.flatnonzero((rows >= 0) & (rows < reach.shape[0]))
        c = np.flatnonzero((columns >= 0) & (columns < reach.shape[1]))
        out[np.ix_(r, c)] |= reach[np.ix_(rows[r], columns[c])]
    return out


def repeated(reach: Reach, also_next_column: bool = False) -> Reach:
    """Each feature above a 2x2 block of finer ones; the right ones of a block may also read the block to the right."""
    fine = reach.repeat(2, axis=0).repeat(2, axis=1)
    if also_next_column:
        fine[:, 1:-1:2] |= fine[:, 2::2]
    return fine
