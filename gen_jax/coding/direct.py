"""Exact autoregressive models as transcoders: -log2 p(x_i | x_<i) bits per value, first in, first out."""

import math

import numpy as np

from gen_jax.coding.colours import Restriction
from gen_jax.coding.frequencies import Decoder, Encoder, Symbols, Weights, Words, uniform
from gen_jax.coding.tiles import Block
from gen_jax.coding.transcoder import Blocks, Coded, check_length
from gen_jax.coding.walk import Walk


def put_labels(encoder: Encoder, labels: np.ndarray | None, classes: int) -> float:
    """Code the labels, if any, under equal probabilities; returns their bits."""
    if labels is None:
        return 0.0
    encoder.put(labels.astype(np.int32), uniform(len(labels), classes))
    return len(labels) * math.log2(classes)


def take_labels(decoder: Decoder, count: int, classes: int) -> np.ndarray | None:
    """Decode the labels, if the model has classes."""
    if not classes:
        return None
    firsts = range(0, count, 4096)
    parts = [decoder.take(uniform(min(4096, count - first), classes)) for first in firsts]
    return np.concatenate(parts)


def closed(encoder: Encoder, bits: float) -> Coded:
    """The words of the coded symbols; FloatingPointError if they are longer than the parallel pass allows."""
    words = encoder.words()
    check_length(32.0 * len(words), bits)
    return Coded(words, bits)


class Direct(Walk):
    """The transcoder of `codec == "direct"`: compiled once for a model and a number of lanes."""

    def share(self, left: int, version: int) -> int:
        """A tile for each lane."""
        del left, version  # blocks do not depend on them
        return self.lanes

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Code the labels, log2 of the number of classes each, then the values of the blocks."""
        encoder = Encoder()
        bits = put_labels(encoder, labels, self.model.num_classes)
        for block in blocks.read(labels):
            bits += self.put(encoder, block)
        return closed(encoder, bits)

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """Decode with the same walk as `encode`."""
        decoder = Decoder(words)
        labels = take_labels(decoder, num_labels, self.model.num_classes)
        for block in blocks.fill(labels):
            self.take(decoder, block)
        decoder.finish()
        return labels

    def put(self, encoder: Encoder, block: Block) -> float:
        """Code the values of a block; returns their bits under the model."""

        def choose(rows: Weights, symbols: Symbols) -> Symbols:
            encoder.put(symbols, rows)
            return symbols

        restriction = self._restriction(block)
        self.walk(*block[:3], choose, restriction)
        saved = restriction.saved if restriction else 0.0
        return float(self.bits(*block[:3]).sum()) - saved

    def take(self, decoder: Decoder, block: Block) -> None:
        """Decode the values of a block."""
        self.walk(*block[:3], lambda rows, _: decoder.take(rows), self._restriction(block))

    def _restriction(self, block: Block) -> Restriction | None:
        known = any(palette is not None for palette in block.palettes)
        return Restriction(block.palettes, self.event) if known else None
