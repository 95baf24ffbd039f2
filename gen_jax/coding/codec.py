"""A trained model as a lossless compressor: arrays of levels to the bytes of a file and back."""

import hashlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

import jax
import numpy as np

from gen_jax import fingerprint
from gen_jax.coding import container, tiles
from gen_jax.coding.bits_back import BitsBack
from gen_jax.coding.container import LANES, Entry, Header, Kind
from gen_jax.coding.direct import Direct
from gen_jax.coding.frequencies import MAX_LEVELS
from gen_jax.coding.staged import Staged as StagedTranscoder
from gen_jax.coding.tiles import Block
from gen_jax.coding.transcoder import SLACK, SLACK_BYTES, Transcoder
from gen_jax.density import Staged
from gen_jax.errors import InputError
from gen_jax.experiment import former, identity
from gen_jax.models.autoregressive.base import batch_of
from gen_jax.typing import Event, Variables

LOG = logging.getLogger(__name__)
ERRORS = 4.0  # standard errors that draws of a bound may differ by


@dataclass(frozen=True)
class Content:
    """What goes in and comes out: integers by name, first axis examples, and the class of each example.

    `kept` is the dtype of the array of labels, "" where they were only told and do not come out again.
    `packed` names the pictures of fewer bits than a byte, each with one of `container.PACKED`.
    """

    kind: Kind
    arrays: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    kept: str = ""
    packed: dict[str, str] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Names, dtypes and shapes."""
        return tuple(
            Entry(name, self.packed.get(name, x.dtype.str), x.shape)
            for name, x in self.arrays.items()
        )

    @property
    def label_type(self) -> str | None:
        """`kept`, None where there are no labels at all."""
        return None if self.labels is None else self.kept

    def checksum(self) -> bytes:
        """8 bytes over everything."""
        digest = hashlib.blake2b(
            container.described(self.kind, self.label_type, self.entries), digest_size=8
        )
        for x in self.arrays.values():
            digest.update(np.ascontiguousarray(x).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i4").tobytes())
        return digest.digest()


@dataclass(frozen=True)
class Size:
    """What a file costs, in bytes, and what the model says that it should, in bits; labels count in both.

    `model_bits`, `initial_bits` and `error_bits` are those of `Coded`; the file has the initial bits among its own.
    """

    bytes: int
    dims: int
    weights_bytes: int
    model_bits: float
    initial_bits: float
    error_bits: float

    @property
    def excess(self) -> float:
        """How far the file, less its initial bits, lies from the model's bits, relative to these."""
        return abs(8 * self.bytes - self.initial_bits - self.model_bits) / self.model_bits

    @property
    def tolerance(self) -> float:
        """How far it may (law 10)."""
        return SLACK + (8 * SLACK_BYTES + ERRORS * self.error_bits) / self.model_bits

    def record(self) -> dict[str, Any]:
        """`overhead` is the file against the model's bits, 0.01 for 1 %; the weights are never part of the file."""
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
        first = f" with {self.initial_bits / 8:,.0f} to begin with" if self.initial_bits else ""
        return (
            f"{self.bytes:,} bytes{first}, {real:.4f} bits/dim (the model's own {model:.4f}, weights of"
            f" {self.weights_bytes:,} bytes not included)"
        )


class Codec:
    """The compressor of one model; programs are compiled once for each number of lanes."""

    def __init__(self, model: Any, variables: Variables):
        self.model, self.variables = model, variables
        self.event: Event = model.event
        self.transcoder = lru_cache(None)(self._transcoder)

    @cached_property
    def fingerprint(self) -> bytes:
        """8 bytes over the identity of the model and every bit of its variables."""
        return self._fingerprint(identity(self.model))

    @cached_property
    def former_fingerprint(self) -> bytes:
        """The fingerprint in files of version 1."""
        return self._fingerprint(former(self.model))

    def _fingerprint(self, tree: Any) -> bytes:
        both = fingerprint.of_tree(tree) + fingerprint.of_variables(self.variables)
        return hashlib.sha256(both.encode()).digest()[:8]

    def compress(self, content: Content) -> tuple[bytes, Size]:
        """The bytes of a file; InputError where the content does not fit the model.

        FloatingPointError where the model's probabilities are none, or not those of its parallel pass.
        """
        levels = self.levels
        container.check(content.kind, content.entries)
        lanes = self._lanes(content.entries)
        transcoder = self.transcoder(lanes)
        blocks = _Blocks([*content.arrays.values()], self.event, transcoder, lanes)
        labels = self._labels(content, blocks.num_examples)
        words, *bits = transcoder.encode(blocks, labels)
        header = Header(
            self.fingerprint, content.checksum(), environment(), lanes, levels, content.kind,
            content.label_type, content.entries,
        )  # fmt: skip
        data = container.pack(header, words)
        weights_bytes = sum(
            leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.variables)
        )
        dims = sum(x.size for x in content.arrays.values())
        return data, Size(len(data), dims, weights_bytes, *bits)

    def decompress(self, data: bytes) -> Content:
        """The content of a file; InputError where it is damaged or another model's."""
        header, words = container.unpack(data)
        model = self.former_fingerprint if header.version == 1 else self.fingerprint
        if header.model != model:
            raise InputError("it was compressed with another model, or other weights of this one")
        fits = header.levels == self.levels and (header.labels is None) == (
            not self.model.num_classes
        )
        if not fits:
            raise InputError("it is damaged: its header does not fit the model")
        here, suspects = environment(), "it is damaged or from another machine"
        if header.version == 1:
            suspects += (
                ", or of a MADE or PixelCNN++ that summed in another order when it was written"
            )
        if header.environment != here:
            LOG.warning(
                "compressed on %s, this is %s: should the probabilities differ in one bit, the checksum will say so",
                header.environment, here,
            )  # fmt: skip
        small = np.min_scalar_type(
            header.levels - 1
        )  # pages that nothing is written to cost nothing
        found = [np.zeros(entry.shape, small) for entry in header.entries]
        try:
            transcoder = self.transcoder(header.lanes)
            blocks = _Blocks(found, self.event, transcoder, header.lanes)
            labels = transcoder.decode(words, blocks, blocks.num_examples)
        except (InputError, FloatingPointError) as error:
            raise InputError(f"{suspects}: {error}") from error
        pairs = zip(header.entries, found, strict=True)
        arrays = {entry.name: x.astype(entry.stored) for entry, x in pairs}
        packed = {e.name: e.dtype for e in header.entries if e.dtype in container.PACKED}
        content = Content(header.kind, arrays, labels, header.labels or "", packed)
        if content.checksum() != header.content:
            raise InputError(f"{suspects}: the checksum of the events does not agree")
        return content

    @property
    def levels(self) -> int:
        """Levels of the model's values; InputError where the codec cannot count them."""
        if self.event.levels is None or self.event.levels > MAX_LEVELS:
            raise InputError(f"the codec is for integers of at most {MAX_LEVELS} levels")
        return self.event.levels

    @cached_property
    def lanes(self) -> list[int]:
        """Numbers of events that may be coded side by side: as their caches fit into memory."""
        most = batch_of(self.model, self.variables)
        return [lanes for lanes in LANES if lanes <= most]

    def _labels(self, content: Content, count: int) -> np.ndarray | None:
        classes, labels = self.model.num_classes, content.labels
        if labels is None:
            if classes:
                raise InputError(
                    "the model is class-conditional: put an array `labels` beside the events or say --label K"
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
        shapes = [tiles.as_events(entry.shape, self.event) for entry in entries]
        count = tiles.count(shapes, self.event)
        return next((lanes for lanes in self.lanes if lanes >= count), self.lanes[-1])

    def _transcoder(self, lanes: int) -> Transcoder:
        return transcoder_for(self.model, self.variables, lanes)


def transcoder_for(model: Any, variables: Variables, lanes: int) -> Transcoder:
    """The transcoder of the model's codec; InputError where it has none."""
    if model.codec == "direct":
        kind = StagedTranscoder if isinstance(model, Staged) else Direct
        return kind(model, variables, lanes)
    if model.codec == "bits_back":
        return BitsBack(model, variables, lanes)
    raise InputError(f"{type(model).__name__} gives no exact probabilities, so it cannot compress")


def environment() -> str:
    """What decides the bits of a float beside the program: backend and version of jax."""
    return f"{jax.default_backend()} {jax.__version__}"


class _Blocks:
    """Arrays as blocks of as many tiles as the transcoder takes, in `lanes` lanes."""

    def __init__(self, arrays: list[np.ndarray], event: Event, transcoder: Transcoder, lanes: int):
        self._arrays = [x.reshape(tiles.as_events(x.shape, event)) for x in arrays]  # views
        self._shapes = [x.shape for x in self._arrays]
        self._event, self._share, self._lanes = event, transcoder.share, lanes

    @property
    def num_examples(self) -> int:
        return sum(shape[0] for shape in self._shapes)

    def read(self, labels: np.ndarray | None, backwards: bool = False) -> Iterator[Block]:
        """Checked values, tile by tile."""
        arrays = [tiles.values_of(x, self._event) for x in self._arrays]
        for group in reversed([*self._groups()]) if backwards else self._groups():
            block = self._empty(group, labels)
            tiles.cut(block, group, arrays, self._event)
            yield block

    def fill(self, labels: np.ndarray | None) -> Iterator[Block]:
        """Empty blocks, whose values are put into the arrays."""
        for group in self._groups():
            block = self._empty(group, labels)
            yield block
            tiles.paste(block, group, self._arrays, self._event)

    def _groups(self) -> Iterator[list[tiles.Tile]]:
        every = tiles.tiles(self._shapes, self._event)
        left = tiles.count(self._shapes, self._event)
        while group := list(islice(every, self._share(left))):
            yield group
            left -= len(group)

    def _empty(self, group: list[tiles.Tile], labels: np.ndarray | None) -> Block:
        return tiles.empty(group, self._shapes, self._event, self._lanes, labels)
