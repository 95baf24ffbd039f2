"""Reader of sequences of vectors of different lengths, such as piano rolls, from one `.npz`."""

from pathlib import Path

import numpy as np
from jaxtyping import Integer

from gen_jax.data import pieces
from gen_jax.data.importing.content import Part, Reading
from gen_jax.data.importing.splits import split_of
from gen_jax.errors import InputError

LENGTHS, PACKED = "_lengths", "_packed"
DEFAULT_LENGTH = 128


def has_pieces(names: list[str]) -> bool:
    """Whether arrays with these names are pieces: one of them holds lengths."""
    return any(name.lower().endswith(LENGTHS) for name in names)


def from_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Reading:
    """Pieces by split: `train` (steps, D), or `train_packed`, its `np.packbits` by rows, and `train_lengths` (pieces,).

    The steps of all pieces of a split follow each other. InputError naming the array that does not fit.
    """
    found: dict[str, dict[str, str]] = {"": {}, PACKED: {}, LENGTHS: {}}
    for name in arrays:
        ending = next((end for end in (LENGTHS, PACKED) if name.lower().endswith(end)), "")
        split = split_of(name[: len(name) - len(ending)])
        if split is None:
            raise InputError(
                f"{path}: array {name!r} is not a split of pieces; {path.name} should have train, train_lengths, ..."
            )
        there = {**found[""], **found[PACKED]} if ending != LENGTHS else found[LENGTHS]
        if split in there:
            raise InputError(f"{path} has a split twice: {there[split]}, {name}")
        found[ending][split] = name
    values, parts = {**found[""], **found[PACKED]}, {}
    for split in {**values, **found[LENGTHS]}:
        if split not in values or split not in found[LENGTHS]:
            lone, other = (values, "lengths") if split in values else (found[LENGTHS], "steps")
            raise InputError(f"{path}: array {lone[split]!r} has no array of {other} beside it")
        origin = f"{path}: array {values[split]!r}"
        roll = _steps(arrays[values[split]], origin, split in found[PACKED])
        counts = _lengths(arrays[found[LENGTHS][split]], f"{path}: array {found[LENGTHS][split]!r}")
        if counts.sum() != len(roll):
            raise InputError(
                f"{origin} has {len(roll)} steps, its lengths add up to {counts.sum()}"
            )
        each = np.split(roll, np.cumsum(counts)[:-1])
        parts[split] = Part(each, [f"{origin}, piece {i}" for i in range(len(each))])
    sizes = {split: part.x[0].shape[1] for split, part in parts.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"{path} has steps of different sizes: {sizes}")
    return Reading(parts, pieces=True)


def cut_windows(
    parts: dict[str, Part], length: int
) -> tuple[dict[str, Part], dict[str, list[int]], list[str]]:
    """Pieces as windows, the last of each padded with zeros; the steps of each piece, and a sentence."""
    done, lengths = {}, {}
    for split, part in parts.items():
        lengths[split] = [len(x) for x in part.x]
        rows = [pieces.windows(x, length) for x in part.x]
        origins = np.repeat(part.origins, [len(row) for row in rows]).tolist()
        done[split] = Part(np.concatenate(rows), origins)
    total = sum(map(sum, lengths.values()))
    padding = length * sum(map(len, done.values())) - total
    count = sum(map(len, lengths.values()))
    note = f"{count} pieces of {total} steps in windows of {length}; {padding} steps of padding are not counted"
    return done, lengths, [note]


def _steps(array: np.ndarray, origin: str, packed: bool) -> Integer[np.ndarray, "steps D"]:
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iu" or (packed and array.dtype != np.uint8):
        what = "bytes of np.packbits" if packed else "integers"
        raise InputError(f"{origin} is {array.dtype}; steps are {what}")
    if array.ndim != 2 or not array.size:
        raise InputError(f"{origin} has shape {array.shape}; it should be (steps, D)")
    return np.unpackbits(array, axis=1) if packed else array


def _lengths(array: np.ndarray, origin: str) -> Integer[np.ndarray, " pieces"]:
    if array.dtype.kind not in "iu" or array.ndim != 1 or not array.size:
        raise InputError(f"{origin} is {array.dtype} {array.shape}; lengths are integers (pieces,)")
    if array.min() < 1:
        raise InputError(f"{origin} has a piece of {array.min()} steps")
    return array.astype(np.int64)
