"""Reader of sound files, which returns windows of mu-law codes."""

from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from gen_jax import progress
from gen_jax.data.importing.content import Part, Reading
from gen_jax.data.importing.folders import labelled_files
from gen_jax.data.importing.names import Names
from gen_jax.data.importing.readers import windows
from gen_jax.data.importing.rules import bounds, listed
from gen_jax.data.sound import read_sound
from gen_jax.errors import InputError
from gen_jax.ops import mu_law

LEVELS = 256
DEFAULT_LENGTH = 1024
SILENCE = 128  # the code of amplitude 0
Short = Literal["pad", "skip"] | None
Windows = Literal["all", "first"]


def from_wav(
    paths: list[Path],
    shares: dict[str, Fraction],
    mono: bool,
    max_bytes: int | None = None,
    classes: bool = False,
    names: Names | None = None,
) -> Reading:
    """Whole sounds by split, all at one rate; a single file is cut into contiguous parts, like a text."""
    listing = labelled_files(paths, "WAV", classes, names)
    first, parts = None, {}
    for split, files in listing.splits.items():
        codes = []
        for path, _ in progress.counted(files, f"read {split}"):
            x, rate = _read(path, mono, max_bytes)
            first = first or (path, rate)
            if rate != first[1]:
                raise InputError(
                    f"{path} is at {rate} Hz, {first[0]} at {first[1]}; a data set has one rate"
                )
            codes.append(x)
        parts[split] = Part(codes, [str(path) for path, _ in files], listing.labels(files))
    assert first is not None  # no split is empty
    rate, labels = first[1], listing.names
    cut = list(parts) == ["train"] and len(parts["train"]) == 1 and not (names and names.ranges)
    notes = [*listing.notes, f"sound at {rate} Hz"]
    if cut:
        parts, more = _contiguous(parts["train"], shares)
        notes += more
    levels = (LEVELS, "the codes of the mu-law")
    presentation = {"rate": rate, "unit": "sample"}
    return Reading(parts, levels, len(labels), labels, presentation, notes, cut)


def _read(path: Path, mono: bool, max_bytes: int | None) -> tuple[UInt8[np.ndarray, " n"], int]:
    x, rate = read_sound(path, max_bytes)
    if x.shape[1] > 1 and not mono:
        raise InputError(f"{path} has {x.shape[1]} channels; --mono takes their mean")
    return mu_law.encode(x.mean(axis=1), LEVELS).astype(np.uint8), rate


def _contiguous(part: Part, shares: dict[str, Fraction]) -> tuple[dict[str, Part], list[str]]:
    [x], labels = part.x, part.labels
    ranges = bounds(len(x), shares)
    parts = {
        split: Part([x[start:stop]], part.origins, labels)
        for split, (start, stop) in ranges.items()
    }
    notes = [f"{split}: samples {start} to {stop}" for split, (start, stop) in ranges.items()]
    return parts, notes


def cut_windows(
    parts: dict[str, Part], length: int, short: Short = None, which: Windows = "all"
) -> tuple[dict[str, Part], list[str]]:
    """All sounds as windows that do not overlap, or the first window of each.

    `short` says what happens to a sound shorter than a window: `pad` it with silence, `skip` it, or InputError.
    """
    done, total, left, padding, few = {}, 0, 0, 0, []
    for split, part in parts.items():
        rows = []
        for x, origin in zip(part.x, part.origins, strict=True):
            samples = len(x)
            total += samples
            if samples < length:
                few.append(origin)
                if not short or not samples:
                    way = "--short pad pads such sounds, --short skip skips them"
                    raise InputError(
                        f"{origin} has {samples} samples for {split}, fewer than a window of {length};"
                        f" {way if samples else 'give other shares with --split'}"
                    )
            if samples < length and short == "pad":
                padding += length - samples
                x = np.pad(x, (0, length - samples), constant_values=SILENCE)
            rows.append(windows(x, length)[: 1 if which == "first" else None])
            left += max(0, samples - rows[-1].size)
        counts = [len(row) for row in rows]
        if not sum(counts):
            raise InputError(f"no sound of {split} fills a window of {length} samples")
        labels = None if part.labels is None else part.labels.repeat(counts)
        origins = np.repeat(part.origins, counts).tolist()
        done[split] = Part(np.concatenate(rows), origins, labels)
    each = ", the first of each sound" if which == "first" else ""
    notes = [
        f"windows of {length} samples{each}; {left} of {total} at the ends of sounds are dropped"
    ]
    if few:
        action = f"padded with silence ({padding} samples)" if padding else "skipped"
        names = listed([Path(origin).name for origin in few])
        notes.append(f"shorter than a window and {action}: {names}")
    return done, notes
