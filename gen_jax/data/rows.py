"""Reading prepared records: whole columns into memory, or examples by their rows where a split is larger than that.

`order-SPLIT.npz` beside the records holds what would otherwise take a pass over all of them: the place of each example
in the order of the originals, its class, and the checksum of the split. It is written when a large data set is
prepared, or when one that was prepared earlier is first read by rows.
"""

import contextlib
import dataclasses
import io
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from gen_jax import disk
from gen_jax.data.npz import read_npz
from gen_jax.errors import InputError, first_line

LOG = logging.getLogger("gen_jax")
CHUNK = 4096  # examples read at once
COLUMNS = ("image", "index", "label")


@dataclasses.dataclass(frozen=True)
class Rows:
    """Examples on disk; indexing by a slice or by integers reads these rows into an array, by one call a chunk.

    `places`: where each example lies in the source. `checksum`: `Split.checksum`, if it is known. Reading raises
    InputError if the records are damaged.
    """

    source: Any
    places: Int[np.ndarray, " n"]
    example: tuple[int, ...]
    dtype: np.dtype
    folder: Path
    checksum: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number and shape of the examples."""
        return (len(self.places), *self.example)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | Int[np.ndarray, " k"]) -> Shaped[np.ndarray, "k *example"]:
        places = self.places[rows]
        values = np.empty((len(places), *self.example), self.dtype)
        try:
            for first in range(0, len(places), CHUNK):
                part = places[first : first + CHUNK].tolist()
                examples = self.source.__getitems__(part)
                values[first : first + len(part)] = [example["image"] for example in examples]
        except Exception as error:  # the file layers raise their own
            raise damaged(self.folder, error) from error
        return values


def opened(
    folder: Path, split: str, source: Any, span: range, numbered: bool
) -> tuple[Rows, Int[np.ndarray, " n"] | None]:
    """The examples of a span of the source and their classes, if any, in the order of the originals.

    `numbered`: the examples have an `index`; otherwise their order is that of the source.
    """
    first = np.asarray(source.__getitems__([span[0]])[0]["image"])
    there = _stored(folder / _file(split), span)
    if there is None:
        LOG.info("%s: reading the order of %s examples of %s", folder, f"{len(span):,}", split)
        found = columns(folder, source, span, ("index", "label") if numbered else ("label",))
        order = np.argsort(found.pop("index")) if numbered else np.arange(len(span))
        there = {"places": span.start + order, **{key: x[order] for key, x in found.items()}}
    of = (source, there["places"], first.shape, first.dtype, folder, str(there.get("checksum", "")))
    return Rows(*of), there.get("label")


def store(folder: Path, split: str, x: Rows, labels: Any) -> None:
    """Write order, classes and checksum beside the records, unless the folder is read-only."""
    content = io.BytesIO()
    label = {} if labels is None else {"label": labels}
    np.savez(content, places=x.places, checksum=x.checksum, **label)
    with contextlib.suppress(OSError):
        disk.write_atomically(folder / _file(split), content.getvalue())


def total_bytes(source: Any, span: range) -> int:
    """The size of the examples in memory."""
    return len(span) * np.asarray(source.__getitems__([span[0]])[0]["image"]).nbytes if span else 0


def columns(
    folder: Path, source: Any, span: range, keys: Collection[str] = COLUMNS
) -> dict[str, np.ndarray]:
    """These features, where there are such, of the examples of a span, read in chunks, so that memory holds them once.

    InputError if their shapes differ.
    """
    columns = {}
    for start in range(0, len(span), CHUNK):
        examples = source.__getitems__(span[start : start + CHUNK])
        for key in {*keys} & examples[0].keys():
            values = [np.asarray(example[key]) for example in examples]
            if any(value.dtype == object for value in values):
                raise ValueError(f"an example has no {key}")
            if start == 0:
                columns[key] = np.empty((len(span), *values[0].shape), values[0].dtype)
            there = columns[key].shape[1:]
            odd = [value.shape for value in values if value.shape != there]
            if odd:
                raise InputError(
                    f"the data set at {folder} has {key}s of different shapes: {there}, {odd[0]}"
                )
            columns[key][start : start + len(values)] = values
    return columns


def damaged(folder: Path, error: Exception) -> InputError:
    """The sentence about records that cannot be read."""
    return InputError(
        f"the prepared data set at {folder} is damaged ({first_line(error)});"
        " remove the folder and prepare it again"
    )


def _file(split: str) -> str:
    return f"order-{split}.npz"


def _stored(path: Path, span: range) -> dict[str, Any] | None:
    """The arrays of an order file, if they fit the span."""
    try:
        there = read_npz(path, check=lambda headers: None)
        places = np.sort(there["places"])
        fits = np.array_equal(places, np.arange(span.start, span.stop))
    except (OSError, InputError, KeyError):
        return None
    return there if fits and there["checksum"].ndim == 0 else None
