"""Models in stages as transcoders: the values of each stage, given those of the earlier stages that it needs.

A stage is a model that steps, so `Direct` codes it. The values are functions of the image, which only the encoder
computes; the decoder reads them and puts the image together. A partial image is completed with zeros before they are
computed, and only a stage whose values are the image's own leaves out what lies outside it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from gen_jax.coding.direct import Direct, closed, put_labels, take_labels
from gen_jax.coding.frequencies import Decoder, Encoder, Words
from gen_jax.coding.tiles import Block
from gen_jax.coding.transcoder import Blocks, Coded
from gen_jax.typing import Variables


class Staged:
    """The transcoder of `codec == "direct"` for a model with `stages`."""

    def __init__(self, model: Any, variables: Variables, lanes: int):
        self.model, self.variables = model, jax.device_put(variables, jax.devices()[0])
        self.stages = model.stages(self.variables)
        self.walks = [Direct(stage.model, stage.variables, lanes) for stage in self.stages]
        self.parts, self.whole = jax.jit(self._parts), jax.jit(self._whole)

    def share(self, left: int, version: int) -> int:
        """The share of the last stage."""
        return self.walks[-1].share(left, version)

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Code the labels, then block by block the values of all stages."""
        encoder = Encoder()
        bits = put_labels(encoder, labels, self.model.num_classes)
        for block in blocks.read(labels):
            values = [np.array(part) for part in self.parts(self.variables, block.values)]
            for walk, part in self._walk(block, values):
                bits += walk.put(encoder, part)
        return closed(encoder, bits)

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """Decode with the same walk as `encode`."""
        decoder = Decoder(words)
        labels = take_labels(decoder, num_labels, self.model.num_classes)
        for block in blocks.fill(labels):
            events = [stage.model.event for stage in self.stages]
            values = [np.zeros((len(block.values), event.size), np.int32) for event in events]
            for walk, part in self._walk(block, values):
                walk.take(decoder, part)
            block.values[:] = self.whole(self.variables, values)
        decoder.finish()
        return labels

    def _walk(self, block: Block, values: Sequence[np.ndarray]) -> Iterator[tuple[Direct, Block]]:
        """Each stage with its block: its values, those that are coded, and what it is given."""
        used, events = block.coded.any(axis=1, keepdims=True), []
        for stage, walk, flat in zip(self.stages, self.walks, values, strict=True):
            is_image = stage is self.stages[-1] and stage.model.event == self.model.event
            coded = block.coded if is_image else np.repeat(used, flat.shape[1], axis=1)
            palettes = block.palettes if is_image else ()
            yield walk, Block(flat, coded, stage.cond(block.cond, events), palettes)
            events.append(flat.reshape(-1, *stage.model.event.shape))

    def _parts(self, variables, values):
        """The values of all stages."""
        x = values.reshape(-1, *self.model.event.shape)
        with jax.default_matmul_precision("highest"):
            parts = self.model.apply(variables, x, method="parts")
        return [part.reshape(len(x), -1).astype(np.int32) for part in parts]

    def _whole(self, variables, values):
        """The image from the values of all stages."""
        pairs = zip(self.stages, values, strict=True)
        parts = [flat.reshape(-1, *stage.model.event.shape) for stage, flat in pairs]
        return self.model.apply(variables, parts, method="whole").reshape(len(values[0]), -1)
