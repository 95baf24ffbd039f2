"""Models in stages as transcoders: the values of each stage, given those of the previous stage, then the image.

A stage is a model that steps, so `Direct` codes it. The values of the early stages are functions of the image, which
only the encoder computes; the decoder reads them. A partial image is completed with zeros before they are computed.
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
        stages = model.stages(self.variables)
        self.stages = [Direct(stage.model, stage.variables, lanes) for stage in stages]
        self.parts = jax.jit(self._parts)

    def share(self, left: int) -> int:
        """The share of the last stage."""
        return self.stages[-1].share(left)

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Code the labels, then block by block the values of all stages."""
        encoder = Encoder()
        bits = put_labels(encoder, labels, self.model.num_classes)
        for block in blocks.read(labels):
            earlier = [np.array(part) for part in self.parts(self.variables, block.values)]
            for stage, part in self._walk(block, earlier):
                bits += stage.put(encoder, part)
        return closed(encoder, bits)

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """Decode with the same walk as `encode`."""
        decoder = Decoder(words)
        labels = take_labels(decoder, num_labels, self.model.num_classes)
        for block in blocks.fill(labels):
            events = [stage.model.event for stage in self.stages[:-1]]
            earlier = [np.zeros((len(block.values), event.size), np.int32) for event in events]
            for stage, part in self._walk(block, earlier):
                stage.take(decoder, part)
        decoder.finish()
        return labels

    def _walk(self, block: Block, earlier: Sequence[np.ndarray]) -> Iterator[tuple[Direct, Block]]:
        """Each stage with its block, the last with the image's; a stage's values are the condition of the next."""
        cond, used = block.cond, block.coded.any(axis=1, keepdims=True)
        for stage, values in zip(self.stages[:-1], earlier, strict=True):
            yield stage, Block(values, np.repeat(used, values.shape[1], axis=1), cond)
            cond = values.reshape(-1, *stage.model.event.shape)
        yield self.stages[-1], block._replace(cond=cond)

    def _parts(self, variables, values):
        """The values of all stages but the last."""
        x = values.reshape(-1, *self.model.event.shape)
        with jax.default_matmul_precision("highest"):
            *earlier, _ = self.model.apply(variables, x, method="parts")
        return [part.reshape(len(x), -1).astype(np.int32) for part in earlier]
