"""Readers of arrays, records and text, which return splits with labels: `.npz`, idx, CIFAR binary, `.txt`."""

import itertools
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gen_jax.data.formats import cifar_records, read_idx
from gen_jax.data.importing import pieces
from gen_jax.data.importing.content import Channels, Part, Reading, class_labels, examples
from gen_jax.data.importing.rules import bounds
from gen_jax.data.importing.splits import key_of, known_keys, split_in
from gen_jax.data.npz import read_npz
from gen_jax.data.opening import read_regular
from gen_jax.errors import InputError, near

CIFAR_NAMES = {
    r"data_batch_(\d+)\.bin": (10, "train"),
    r"test_batch\.bin": (10, "test"),
    r"train\.bin": (100, "train"),
    r"test\.bin": (100, "test"),
}
DEFAULT_LENGTH = 128


def from_npz(paths: list[Path], max_bytes: int | None = None, channels: Channels = None) -> Reading:
    """Arrays `train`, `valid`, `test`, each with optional `*_labels`, or the names of Keras and MedMNIST.

    With `*_lengths` they are pieces (`pieces.py`).
    """
    path = _only(paths, ".npz file")
    arrays = read_npz(path, max_bytes)
    if pieces.has_pieces(list(arrays)):
        if channels:
            raise InputError(f"--channels-{channels} is for arrays of 4 axes, {path} has pieces")
        return pieces.from_arrays(path, arrays)
    images, labels = _by_split(path, list(arrays))
    parts = {}
    for split, name in images.items():
        origin = f"{path}: array {name!r}"
        x, key = examples(arrays[name], origin, channels), labels.get(split)
        label = class_labels(arrays[key], f"{path}: array {key!r}", len(x)) if key else None
        parts[split] = Part(x, [origin] * len(x), label)
    return Reading(parts)


def _by_split(path: Path, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Names of the arrays of examples and of labels; InputError if one is neither, or none has examples."""
    keys = {name: key_of(name) for name in names}
    if not any(key and not key[1] for key in keys.values()):
        raise InputError(
            f"{path} should contain at least one of the arrays train, valid (or validation) and test;"
            f" it contains {', '.join(names) or 'none'}"
        )
    images, labels = {}, {}
    for name, key in keys.items():
        if key is None:
            raise InputError(
                f"{path}: array {name!r} is neither a split nor labels of one{near(name, known_keys())}"
            )
        split, labelled = key
        there = labels if labelled else images
        if split in there:
            raise InputError(f"{path} has a split twice: {there[split]}, {name}")
        there[split] = name
    for split, name in labels.items():
        if split not in images:
            raise InputError(f"{path}: array {name!r} has labels for a missing split")
    return images, labels


def from_idx(paths: list[Path], max_bytes: int | None = None, channels: Channels = None) -> Reading:
    """Images and labels by split: a word of the file's name tells the split, the magic number the rest.

    If no name tells a split, everything is train; InputError if only some names do.
    """
    images: dict[str, tuple[Path, np.ndarray]] = {}
    labels: dict[str, tuple[Path, np.ndarray]] = {}
    split_of = {path: split_in(path.name) for path in paths}
    unnamed = [path for path, split in split_of.items() if split is None]
    if unnamed and len(unnamed) < len(paths):
        other = next(path for path in paths if split_of[path])
        raise InputError(f"{unnamed[0]} does not name a split, but {other} names {split_of[other]}")
    for path in paths:
        array, split = read_idx(path, max_bytes), split_of[path] or "train"
        kind, there = ("labels", labels) if array.ndim == 1 else ("images", images)
        for word in {"images", "labels"} - {kind}:
            if word in path.name:
                raise InputError(f"{path} is named {word}, its magic number says {array.ndim} axes")
        if split in there:
            raise InputError(f"{there[split][0]} and {path} are both {kind} of split {split}")
        there[split] = (path, array)
    for split in labels:
        if split not in images:
            raise InputError(f"{labels[split][0]} labels split {split}, which has no images")
    parts = {}
    for split, (path, array) in images.items():
        x = examples(array, str(path), channels)
        there = labels.get(split)
        label = class_labels(there[1], str(there[0]), len(x)) if there else None
        parts[split] = Part(x, [str(path)] * len(x), label)
    notes = [f"{path.name} does not name a split: everything is one set" for path in unnamed[:1]]
    return Reading(parts, notes=notes)


def from_cifar(paths: list[Path], max_bytes: int | None = None) -> Reading:
    """Batches in the order of their numbers; CIFAR-100 with its 100 fine labels."""
    batches = sorted(_batch(path) for path in paths)
    classes = batches[0][3]
    for batch, following in itertools.pairwise(batches):
        if following[3] != classes:
            raise InputError(
                f"{batch[2]} is of CIFAR-{classes}, {following[2]} of CIFAR-{following[3]}"
            )
        if batch[:2] == following[:2]:
            raise InputError(f"{batch[2]} and {following[2]} are the same batch")
    parts = {}
    for split in ("train", "test"):
        files = [path for where, _, path, _ in batches if where == split]
        if files:
            read = [cifar_records(read_regular(path, max_bytes), classes, path) for path in files]
            images, labels = zip(*read, strict=True)
            origins = [str(path) for path, x in zip(files, images, strict=True) for _ in x]
            parts[split] = Part(np.concatenate(images), origins, np.concatenate(labels))
    notes = ["labels are the 100 fine ones; the 20 coarse ones are not used"] * (classes == 100)
    return Reading(parts, num_classes=classes, notes=notes)


def _batch(path: Path) -> tuple[str, int, Path, int]:
    """(split, number, path, classes) according to the file's name."""
    for pattern, (classes, split) in CIFAR_NAMES.items():
        if match := re.fullmatch(pattern, path.name):
            return split, int(match[1]) if match.groups() else 0, path, classes
    raise InputError(
        f"{path} is not named like a CIFAR file: data_batch_1.bin, ..., test_batch.bin, train.bin, test.bin"
    )


def from_text(
    paths: list[Path], length: int, shares: dict[str, Fraction], max_bytes: int | None = None
) -> Reading:
    """Windows (N, L) of each contiguous split, and the symbols after them; symbol k is the k-th smallest byte."""
    path = _only(paths, "text file")
    content = np.frombuffer(read_regular(path, max_bytes), np.uint8)
    alphabet, symbols = np.unique(content, return_inverse=True)
    if len(alphabet) < 2:
        raise InputError(f"{path} has {len(alphabet)} distinct bytes, a text needs at least 2")
    parts, notes, rest = {}, [], {}
    for split, (start, stop) in bounds(len(symbols), shares).items():
        rows = windows(symbols[start:stop].astype(np.uint8), length)
        if not len(rows):
            raise InputError(
                f"{path}: split {split} has {stop - start} bytes, fewer than a window of {length}"
            )
        parts[split] = Part(rows, [str(path)] * len(rows))
        rest[split] = symbols[start + rows.size : stop].tolist()
        notes.append(
            f"{split}: bytes {start} to {stop} of the text; the last {len(rest[split])} do not fill a window"
        )
    presentation = {"alphabet": alphabet.tolist(), "unit": "character"}
    levels = (len(alphabet), "one for each distinct byte of the text")
    return Reading(parts, levels, presentation=presentation, rest=rest, notes=notes, cut=True)


def windows(symbols: UInt8[np.ndarray, " N"], length: int) -> UInt8[np.ndarray, "n L"]:
    """Consecutive windows that do not overlap, without the rest at the end."""
    count = len(symbols) // length
    return symbols[: count * length].reshape(count, length)


def _only(paths: list[Path], kind: str) -> Path:
    if len(paths) > 1:
        raise InputError(f"a data set is one {kind}, not {len(paths)}: {paths[0]}, {paths[1]}")
    return paths[0]
