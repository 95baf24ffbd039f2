"""Prepared data sets: their folders, and reading a split into memory, or by rows if it is larger than a limit."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_jax.data import official, pieces, rows
from gen_jax.data.dynamic import FIXED_DRAW, binarised
from gen_jax.data.rows import CHUNK, Rows, damaged
from gen_jax.errors import InputError, near
from gen_jax.typing import Event

MEMORY = 2.0 * 2**30  # bytes of a split's examples up to which they are kept in memory


class SplitError(InputError):
    """The data set has no such split."""


@dataclass(frozen=True)
class Data:
    """The data set of an experiment; its examples are integers or reals, as stored."""

    name: str


# The data of `gen_jax.fit`, without and with validation; a prepared data set cannot have these names.
ARRAYS, VALIDATED = Data("arrays in memory"), Data("arrays in memory, with validation")


@dataclass(frozen=True)
class Split:
    """All examples of a split, in the order of the original files, with labels if the data set has classes.

    Examples that stay on disk are read by rows (`data/rows.py`), whose indexing is that of an array.

    Examples in memory may have conditions of any form (`gen_jax/conditions.py`) in place of labels.

    If there are `greys`, `x` is one fixed draw from Bernoulli(greys / 255), and every training batch draws again.
    `presentation` says how examples are shown (`gen_jax/media/`), such as the bytes of a text's symbols. Examples of a
    text are consecutive windows; `rest`: trailing symbols that do not fill a window. Examples may also be windows of
    pieces: sequences of vectors of different lengths (`data/pieces.py`), whose padding is not counted.
    """

    dataset: str
    version: str
    split: str
    x: np.ndarray | Rows
    labels: Any
    event: Event
    num_classes: int
    greys: np.ndarray | None = None
    presentation: Mapping[str, Any] = field(default_factory=dict)
    rest: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    pieces: tuple[int, ...] = ()  # the number of steps of each

    def __len__(self) -> int:
        return len(self.x)

    @property
    def unit(self) -> str:
        """The unit of a number on this data set, such as bits/dim."""
        return unit_of(self.event, self.presentation)

    @property
    def in_order(self) -> bool:
        """Whether examples are consecutive windows of a text or of pieces, which depend on each other."""
        return "alphabet" in self.presentation or bool(self.pieces)

    @property
    def nats_per(self) -> str:
        """What nats are counted for: an example, or a step of a piece."""
        return "step" if self.pieces else "example"

    @cached_property
    def sizes(self) -> np.ndarray | None:
        """The number of values of each example that are no padding; None: all."""
        if not self.pieces:
            return None
        length, *values = self.event.shape
        return pieces.steps(self.pieces, length) * math.prod(values)

    @cached_property
    def begins(self) -> np.ndarray | None:
        """Whether each example begins a piece; None if there are no pieces."""
        return pieces.begins(self.pieces, self.event.shape[0]) if self.pieces else None

    @property
    def checksum(self) -> str:
        """SHA-256 of the examples and their classes in order; it tells data sets of the same name apart.

        Of examples on disk it was computed at preparation.
        """
        if isinstance(self.x, Rows) and self.x.checksum:
            return self.x.checksum
        digest = hashlib.sha256(repr((self.rest, self.class_names)).encode())
        digest.update(repr(self.pieces).encode() if self.pieces else b"")
        for array in jax.tree.leaves((self.x if self.greys is None else self.greys, self.labels)):
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            for first in range(0, len(array), CHUNK):
                digest.update(np.ascontiguousarray(array[first : first + CHUNK]).data)
        return digest.hexdigest()


def unit_of(event: Event, presentation: Mapping[str, Any]) -> str:
    """bits/dim, or bits per the data set's unit, such as a character; nats for continuous data."""
    return "nats" if event.levels is None else f"bits/{presentation.get('unit', 'dim')}"


def default_data_dir() -> Path:
    """`$TFDS_DATA_DIR`, or TFDS's default `~/tensorflow_datasets`."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepare(name: str, data_dir: Path | None = None, source: str | None = None) -> Path:
    """Write a data set as ArrayRecord files, unless it is there; returns its folder. InputError for an unknown name.

    A data set without a test split is written again, and replaced if that adds one.
    """
    from gen_jax.data.builders import BUILDERS
    from gen_jax.data.writing import splits_of, write

    if name not in BUILDERS:
        raise InputError(
            f"unknown data set {name!r}{near(name, BUILDERS)}; known ones: {', '.join(sorted(BUILDERS))}"
        )
    builder_class = BUILDERS[name]
    if source is not None and not builder_class.TAKES_SOURCE:
        raise InputError(f"data set {name!r} needs no --source")
    root = data_dir or default_data_dir()
    folder = root / name / str(builder_class.VERSION)
    if "test" in splits_of(folder):
        return folder
    options = {"source": source} if builder_class.TAKES_SOURCE else {}
    return write(name, partial(builder_class, **options), root, replace=True)


def load(name: str, split: str, data_dir: Path | None = None, memory: float = MEMORY) -> Split:
    """Read a split into memory; InputError if the data set is not prepared, is damaged, or has no such split.

    Examples of more than `memory` bytes stay on disk; greys, of which there are few, do not. It also reads image data
    sets of TFDS's own builders; if one has no validation, the last part of train takes its place.
    """
    import tensorflow_datasets as tfds

    folder = prepared_folder(name, data_dir)
    ours = official.is_ours(folder)
    try:
        builder = tfds.builder_from_directory(folder)
        sizes = {key: info.num_examples for key, info in builder.info.splits.items()}
        if ours:
            metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
            parts = {key: (key, range(size)) for key, size in sizes.items()}
        else:
            metadata = official.metadata(builder, name, folder)
            parts = official.parts(sizes, name)
    except InputError:
        raise
    except Exception as error:
        raise damaged(folder, error) from error
    if split not in parts:
        known = sorted(parts)
        raise SplitError(
            f"unknown split {split!r}{near(split, known)}; {name} has {', '.join(known)}"
        )
    stored, span = parts[split]
    of = (name, split, str(builder.info.version), metadata)
    try:
        source: Any = builder.as_data_source(split=stored)  # pyright: ignore[reportCallIssue]  a stub without it
        if split not in metadata.get("greys", ()) and rows.total_bytes(source, span) > memory:
            return _by_rows(folder, source, span, ours, *of)
        columns = rows.columns(folder, source, span)
        if ours:
            order = np.argsort(columns["index"])
            columns = {key: column[order] for key, column in columns.items()}
        return _split(columns, *of)
    except InputError:
        raise
    except Exception as error:
        raise damaged(folder, error) from error


def _by_rows(
    folder: Path, source: Any, span: range, numbered: bool, name: str, split: str, *more: Any
) -> Split:
    """A split whose examples stay on disk; its order and checksum are stored if they are not."""
    x, labels = rows.opened(folder, split, source, span, numbered)
    there = _split({"image": x, "label": labels}, name, split, *more)
    if not x.checksum:
        x = replace(x, checksum=there.checksum)
        rows.store(folder, split, x, labels)
    return replace(there, x=x)


def _split(
    columns: Mapping[str, Any], name: str, split: str, version: str, metadata: Mapping[str, Any]
) -> Split:
    """A split of the columns, interpreted by the metadata."""
    x, greys = columns["image"], None
    if split in metadata.get("greys", ()):
        greys, x = x, binarised(x, FIXED_DRAW)
    classes = metadata["num_classes"]
    labels = columns["label"].astype(np.int32) if classes else None
    event = Event(x.shape[1:], metadata["levels"])
    presentation = metadata.get("presentation", {})
    rest = tuple(metadata.get("rest", {}).get(split, ()))
    names = tuple(map(str, metadata.get("class_names", ())))
    lengths = tuple(metadata.get("pieces", {}).get(split, ()))
    if lengths and len(pieces.steps(lengths, event.shape[0])) != len(x):
        raise ValueError("the lengths of its pieces do not fit")
    return Split(
        name, version, split, x, labels, event, classes, greys, presentation, rest, names, lengths
    )


def prepared_folder(name: str, data_dir: Path | None = None) -> Path:
    """The folder of the newest prepared version, ours first; InputError, with the command to run, if there is none."""
    if name in (ARRAYS.name, VALIDATED.name):
        raise InputError(
            "the model was trained on arrays in memory, which are not stored: name a prepared data set with --data"
        )
    root = data_dir or default_data_dir()
    folders = [path.parent for path in (root / name).glob("*.*.*/dataset_info.json")]
    versions = [folder for folder in folders if _version(folder)]
    if not versions:
        from gen_jax.data.builders import BUILDERS

        if name not in BUILDERS:
            similar = near(name, [*prepared_names(data_dir), *BUILDERS])
            raise InputError(
                f"data set {name!r} is not in {root}{similar}; `gen-jax data list` lists data sets,"
                " `gen-jax data import` imports your own files"
            )
        similar = near(name, prepared_names(data_dir))
        raise InputError(
            f"data set {name!r} is not prepared in {root}{similar}; run `gen-jax data prepare {name}"
            + (f" --data-dir {data_dir}`" if data_dir else "`")
        )
    return max(versions, key=lambda path: (official.is_ours(path), _version(path)))


def prepared_names(data_dir: Path | None = None) -> list[str]:
    """Names of the prepared data sets in the folder; hidden folders, left by a killed process, do not count."""
    root = data_dir or default_data_dir()
    folders = [path.parent for path in root.glob("[!.]*/*.*.*/dataset_info.json")]
    return sorted({folder.parent.name for folder in folders if _version(folder)})


def _version(folder: Path) -> list[int]:
    """The numbers of a version folder; empty for one that TFDS left `incomplete`."""
    parts = folder.name.split(".")
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []
