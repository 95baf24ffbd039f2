"""Windows of sequences of different lengths: pieces (n, D) as windows (L, D), the last of each padded with zeros."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Integer


def windows(piece: Integer[np.ndarray, "n D"], length: int) -> Integer[np.ndarray, "k L D"]:
    """Consecutive windows that do not overlap and hold every step."""
    count = -(-len(piece) // length)
    padded = np.pad(piece, ((0, count * length - len(piece)), (0, 0)))
    return padded.reshape(count, length, piece.shape[1])


def steps(pieces: Sequence[int], length: int) -> Int[np.ndarray, " N"]:
    """The number of steps in each window of pieces with these numbers of steps."""
    whole = [np.minimum(length, n - np.arange(0, n, length)) for n in pieces]
    return np.concatenate([np.zeros(0, int), *whole])


def begins(pieces: Sequence[int], length: int) -> Bool[np.ndarray, " N"]:
    """Whether each window begins a piece."""
    first = [np.arange(0, n, length) == 0 for n in pieces]
    return np.concatenate([np.zeros(0, bool), *first])
