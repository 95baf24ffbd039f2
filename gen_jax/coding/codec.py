"""A trained model as a lossless compressor: from arrays of levels to the bytes of a file and back."""

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import islice
from typing import Any

import jax
import numpy as np

from gen_jax import fingerprint, inputs, processes, progress
from gen_jax.coding import container, planes, tiles
from gen_jax.coding.bits_back import BitsBack
from gen_jax.coding.container import LANES, VERSION, Entry, Header, Kind, version_of
from gen_jax.coding.direct import Direct
from gen_jax.coding.frequencies import MAX_LEVELS
from gen_jax.coding.planes import Side
from gen_jax.coding.staged import Staged as StagedTranscoder
from gen_jax.coding.tiles import Block
from gen_jax.coding.transcoder import SLACK, SLACK_BYTES, Transcoder
from gen_jax.conditions import events_of, joined, values_of
from gen_jax.config_tree import former, identity
from gen_jax.density import Staged
from gen_jax.errors import InputError
from gen_jax.models.autoregressive.base import batch_of
from gen_jax.typing import Event, Variables

LOG = logging.getLogger(__name__)
ERRORS = 4.0  # standard errors by which draws of a bound may differ


@dataclass(frozen=True)
class Content:
    """The content of a file: named arrays of integers, first axis examples, and the class of each example.

    `labels_dtype` is the dtype of the array of labels, "" if they came from --label and are not written out again.
    `packed` names the pictures with less than 8 bits per sample, each with one of `container.PACKED`. `sides` has what
    a picture has besides the values of its array.
    """

    kind: Kind
    arrays: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    labels_dtype: str = ""
    packed: dict[str, str] = field(default_factory=dict)
    sides: dict[str, Side] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Names, dtypes and shapes, and what else a picture has."""
        return tuple(self._entry(name, x) for name, x in self.arrays.items())

    def _entry(self, name: str, x: np.ndarray) -> Entry:
        if name not in self.sides:
            return Entry(name, self.packed.get(name, x.dtype.str), x.shape)
        kind, palette, transparency, planes = self.sides[name]
        return Entry(name, kind, x.shape, palette, transparency, len(planes))

    @property
    def label_type(self) -> str | None:
        """`labels_dtype`, or None if there are no labels."""
        return None if self.labels is None else self.labels_dtype

    def checksum(self) -> bytes:
        """8 bytes computed from the whole content."""
        digest = hashlib.blake2b(
            container.described(self.kind, self.label_type, self.entries), digest_size=8
        )
        for x in self.arrays.values():
            digest.update(np.ascontiguousarray(x).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i4").tobytes())
        for side in self.sides.values():
            digest.update(np.ascontiguousarray(side.planes).data)
        return digest.digest()


@dataclass(frozen=True)
class Size:
    """The size of a file in bytes, and the size that the model promises in bits; both include labels and side planes.

    `model_bits`, `initial_bits` and `error_bits` are those of `Coded`; `bytes` includes the initial bits. `side_bytes`
    are those of palettes, transparent colours and side planes; `dims` counts the samples of a PNG, with alpha.
    """

    bytes: int
    dims: int
    weights_bytes: int
    model_bits: float
    initial_bits: float
    error_bits: float
    side_bytes: int = 0

    @property
    def excess(self) -> float:
        """The difference between file (without initial bits) and model's bits, relative to the latter."""
        return abs(8 * self.bytes - self.initial_bits - self.model_bits) / self.model_bits

    @property
    def tolerance(self) -> float:
        """The largest `excess` that is allowed (law 10)."""
        return SLACK + (8 * SLACK_BYTES + ERRORS * self.error_bits) / self.model_bits

    def record(self) -> dict[str, Any]:
        """As JSON fields; `overhead` compares file and model's bits, 0.01 for 1 %; the file never has the weights."""
        real = 8 * self.bytes / self.dims
        finite = math.isfinite(self.model_bits) and self.model_bits > 0
        return {
            "bytes": self.bytes,
            "bits_per_dim": real,
            "bits_per_dim_model": self.model_bits / self.dims if finite else None,
            "overhead": 8 * self.bytes / self.model_bits - 1 if finite else None,
            "initial_bytes": self.initial_bits / 8,
            "weights_bytes": self.weights_bytes,
        }

    def __str__(self) -> str:
        real, model = 8 * self.bytes / self.dims, self.model_bits / self.dims
        initial = f", {self.initial_bits / 8:,.0f} of them initial" if self.initial_bits else ""
        side = f", {self.side_bytes:,} of them not coded by the model" if self.side_bytes else ""
        return (
            f"{self.bytes:,} bytes{initial}{side}: {real:.4f} bits/dim (the model says {model:.4f}; its weights,"
            f" {self.weights_bytes:,} bytes, are not included)"
        )


class Codec:
    """The compressor of a model; programs are compiled once for each number of lanes.

    A file holds the labels of its examples. If the model has `conditions`, both directions are given the `values` of
    these, one batch for each condition, and the file does not hold them.
    """

    def __init__(self, model: Any, variables: Variables):
        processes.check_one("compression")
        self.model, self.variables = model, variables
        self.event: Event = model.event
        self.transcoder = lru_cache(None)(self._transcoder)

    @cached_property
    def fingerprint(self) -> bytes:
        """8 bytes computed from the identity of the model and every bit of its variables."""
        return self._fingerprint(identity(self.model))

    @cached_property
    def former_fingerprint(self) -> bytes:
        """The fingerprint in files of version 1."""
        return self._fingerprint(former(self.model))

    def _fingerprint(self, tree: Any) -> bytes:
        both = fingerprint.of_tree(tree) + fingerprint.of_variables(self.variables)
        return hashlib.sha256(both.encode()).digest()[:8]

    def compress(self, content: Content, values: Sequence[Any] = ()) -> tuple[bytes, Size]:
        """The bytes of a file; InputError if the content does not fit the model.

        FloatingPointError if the model's probabilities are not finite or disagree with its parallel pass.
        """
        levels, entries = self.levels, content.entries
        container.check(content.kind, entries)
        lanes = self._lanes(entries)
        transcoder = self.transcoder(lanes)
        blocks = _Blocks([*content.arrays.values()], self.event, transcoder, lanes)
        blocks.values, blocks.palettes = self._values(values, entries), _palettes(entries)
        labels = self._labels(content, blocks.num_examples)
        words, model_bits, *bits = transcoder.encode(blocks, labels)
        side = planes.compressed([side.planes for side in content.sides.values()])
        header = Header(
            self.fingerprint, content.checksum(), environment(), lanes, levels, content.kind,
            content.label_type, entries, version_of(entries), side,
        )  # fmt: skip
        data = container.pack(header, words)
        weights_bytes = sum(
            leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.variables)
        )
        dims = sum(entry.samples for entry in entries)
        chunks = sum(len(entry.palette) + len(entry.transparency) for entry in entries)
        besides = len(side) + chunks
        return data, Size(
            len(data), dims, weights_bytes, model_bits + 8 * besides, *bits, side_bytes=besides
        )

    def decompress(self, data: bytes, values: Sequence[Any] = ()) -> Content:
        """The content of a file; InputError if it is damaged, from another model or given other values."""
        header, words = container.unpack(data)
        model = self.former_fingerprint if header.version == 1 else self.fingerprint
        if header.model != model:
            raise InputError("it was compressed with another model or with other weights")
        labelled = header.labels is not None
        if header.levels != self.levels or labelled != bool(self.model.num_classes):
            raise InputError("it is damaged: its header does not fit the model")
        here, suspects = environment(), "it is damaged or from another machine"
        if header.version == 1:
            suspects += (
                ", or from a version in which MADE and PixelCNN++ added numbers in another order"
            )
        if header.environment != here:
            LOG.warning(
                "compressed on %s, this is %s: if the probabilities differ in one bit, the checksum will fail",
                header.environment, here,
            )  # fmt: skip
        given = self._values(values, header.entries)
        # np.zeros costs no memory until it is written to.
        small = np.min_scalar_type(header.levels - 1)
        decoded = [np.zeros(entry.shape, small) for entry in header.entries]
        try:
            transcoder = self.transcoder(header.lanes)
            blocks = _Blocks(decoded, self.event, transcoder, header.lanes, header.version)
            blocks.values, blocks.palettes = given, _palettes(header.entries)
            labels = transcoder.decode(words, blocks, blocks.num_examples)
        except (InputError, FloatingPointError) as error:
            raise InputError(f"{suspects}: {error}") from error
        pairs = zip(header.entries, decoded, strict=True)
        arrays = {entry.name: x.astype(entry.stored) for entry, x in pairs}
        packed = {e.name: e.dtype for e in header.entries if e.dtype in container.PACKED}
        # Not before: a header may promise any size, but values of that size have now been decoded.
        sides = _sides(header, arrays)
        content = Content(header.kind, arrays, labels, header.labels or "", packed, sides)
        if content.checksum() != header.content:
            raise InputError(f"{suspects}: the checksum of the events does not agree")
        return content

    @property
    def levels(self) -> int:
        """The number of levels of the model's values; InputError if they are real or too many."""
        if self.event.levels is None or self.event.levels > MAX_LEVELS:
            raise InputError(f"the codec is for integers of at most {MAX_LEVELS} levels")
        return self.event.levels

    @cached_property
    def lanes(self) -> list[int]:
        """The numbers of events that may be coded in parallel, limited by the memory of their caches."""
        most = batch_of(self.model, self.variables)
        return [lanes for lanes in LANES if lanes <= most]

    def _values(self, values: Sequence[Any], entries: tuple[Entry, ...]) -> tuple[np.ndarray, ...]:
        """The checked values of the model's conditions, a row for each example."""
        count = sum(math.prod(entry.shape[:1]) for entry in entries)
        events, name = events_of(self.model), type(self.model).__name__
        if events and not values:
            raise InputError(f"{name} is given more than a class, which a file does not hold")
        checked = inputs.condition(name, 0, events, joined(None, values), count).values
        if not events:
            return ()
        types = (np.float32 if event.levels is None else np.int32 for event in events)
        return tuple(np.asarray(*pair) for pair in zip(values_of(checked), types, strict=True))

    def _labels(self, content: Content, count: int) -> np.ndarray | None:
        classes, labels = self.model.num_classes, content.labels
        if labels is None:
            if classes:
                raise InputError(
                    "the model is class-conditional: add an array `labels` to the events or give --label K"
                )
            return None
        if not classes:
            raise InputError("the model has no classes: it takes no labels")
        if labels.shape != (count,) or labels.dtype.kind not in "iub":
            raise InputError(f"labels should be {count} integers, one for each example")
        if labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"labels run from {labels.min()} to {labels.max()}, the model has classes 0 to {classes - 1}"
            )
        return labels.astype(np.int32)

    def _lanes(self, entries: tuple[Entry, ...]) -> int:
        """As few as the first block needs, which is the largest: each lane costs time, used or not."""
        shapes = [tiles.as_events(entry.shape, self.event) for entry in entries]
        count = tiles.count(shapes, self.event)
        first = min(count, self.transcoder(self.lanes[-1]).share(count, VERSION))
        return next(lanes for lanes in self.lanes if lanes >= first)

    def _transcoder(self, lanes: int) -> Transcoder:
        return transcoder_for(self.model, self.variables, lanes)


def transcoder_for(model: Any, variables: Variables, lanes: int) -> Transcoder:
    """The transcoder of the model's codec; InputError if it has none."""
    if model.codec == "direct":
        kind = StagedTranscoder if isinstance(model, Staged) else Direct
        return kind(model, variables, lanes)
    if model.codec == "bits_back":
        return BitsBack(model, variables, lanes)
    raise InputError(f"{type(model).__name__} gives no exact probabilities, so it cannot compress")


def environment() -> str:
    """What determines the bits of a float besides the program: backend and version of jax."""
    return f"{jax.default_backend()} {jax.__version__}"


def _palettes(entries: tuple[Entry, ...]) -> list[np.ndarray | None]:
    """The only colours of each sided picture, where its kind tells them."""
    return [
        planes.colours(entry.dtype, entry.palette, entry.shape[3]) if entry.sided else None
        for entry in entries
    ]


def _sides(header: Header, arrays: dict[str, np.ndarray]) -> dict[str, Side]:
    """What the pictures have besides their values; InputError if it does not make PNG pictures with these."""
    sided = [entry for entry in header.entries if entry.sided]
    parts = planes.decompressed(header.side, [entry.of_planes for entry in sided])
    sides = {
        entry.name: Side(entry.dtype, entry.palette, entry.transparency, part)
        for entry, part in zip(sided, parts, strict=True)
    }
    for name, side in sides.items():
        planes.join(arrays[name][0], side)
    return sides


class _Blocks:
    """Arrays as blocks: each has as many tiles as the transcoder's `share` in a file's `version`, in `lanes` lanes.

    `values`: what each example is given besides its label. `palettes`: the only colours of each array, or None.
    """

    values: tuple[np.ndarray, ...] = ()
    palettes: Sequence[np.ndarray | None]

    def __init__(
        self,
        arrays: list[np.ndarray],
        event: Event,
        transcoder: Transcoder,
        lanes: int,
        version: int = VERSION,
    ):
        self._arrays = [x.reshape(tiles.as_events(x.shape, event)) for x in arrays]  # views
        self._shapes = [x.shape for x in self._arrays]
        self._event, self._lanes = event, lanes
        self._share = partial(transcoder.share, version=version)

    @property
    def num_examples(self) -> int:
        return sum(shape[0] for shape in self._shapes)

    def read(self, labels: np.ndarray | None, backwards: bool = False) -> Iterator[Block]:
        """Blocks with the arrays' values, after a check that these fit the model."""
        arrays = [tiles.values_of(x, self._event) for x in self._arrays]
        groups = reversed([*self._groups()]) if backwards else self._groups()
        for group in self._counted(groups):
            block = self._empty(group, labels)
            tiles.cut(block, group, arrays, self._event)
            yield block

    def fill(self, labels: np.ndarray | None) -> Iterator[Block]:
        """Empty blocks; when the caller has filled one, its values are copied into the arrays."""
        for group in self._counted(self._groups()):
            block = self._empty(group, labels)
            yield block
            tiles.paste(block, group, self._arrays, self._event)

    def _counted(self, groups: Iterable[list[tiles.Tile]]) -> Iterator[list[tiles.Tile]]:
        with progress.bar("tiles", tiles.count(self._shapes, self._event)) as advance:
            for group in groups:
                yield group
                advance(len(group))

    def _groups(self) -> Iterator[list[tiles.Tile]]:
        every = tiles.tiles(self._shapes, self._event)
        left = tiles.count(self._shapes, self._event)
        while group := list(islice(every, self._share(left))):
            yield group
            left -= len(group)

    def _empty(self, group: list[tiles.Tile], labels: np.ndarray | None) -> Block:
        cond = joined(labels, self.values)
        block = tiles.empty(group, self._shapes, self._event, self._lanes, cond)
        return block._replace(palettes=[self.palettes[tile.array] for tile in group])
