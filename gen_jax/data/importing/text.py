"""A text file as symbols: one for each distinct byte, in windows that follow each other."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gen_jax.data.importing.found import Found, Part, one_file
from gen_jax.data.importing.splits import bounds
from gen_jax.errors import InputError

DEFAULT_LENGTH = 128


def read(paths: list[Path], length: int, fractions: dict[str, Fraction]) -> Found:
    """Windows (N, L) of each contiguous split; symbol k is the k-th smallest byte of the file."""
    one_file(paths, "text file")
    path = paths[0]
    content = np.fromfile(path, np.uint8)
    alphabet, symbols = np.unique(content, return_inverse=True)
    if len(alphabet) < 2:
        raise InputError(f"{path} holds {len(alphabet)} distinct bytes, a text needs at least 2")
    parts, notes = {}, []
    for split, (start, stop) in bounds(len(symbols), fractions).items():
        rows = windows(symbols[start:stop].astype(np.uint8), length)
        if not len(rows):
            raise InputError(
                f"{path}: split {split} has {stop - start} bytes, fewer than a window of {length}"
            )
        parts[split] = Part(rows, [str(path)] * len(rows))
        notes.append(
            f"{split}: bytes {start} to {stop} of the text, of which the last {stop - start - rows.size} are left out"
        )
    return Found(parts, levels=len(alphabet), alphabet=alphabet.tolist(), notes=notes)


def windows(symbols: UInt8[np.ndarray, " N"], length: int) -> UInt8[np.ndarray, "n L"]:
    """Windows that do not overlap, in order; the ragged rest is left out."""
    count = len(symbols) // length
    return symbols[: count * length].reshape(count, length)
