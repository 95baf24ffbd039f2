"""Exact autoregressive models as transcoders: -log2 p(x_i | x_<i) bits a value, many tiles side by side.

Encoder and decoder make the same walk with the same compiled programs on the same shapes, so both see bit-identical
probabilities; the only difference is whether a symbol is written or read. Values outside an image take the most
probable level and are not coded. Everything runs on one device, at highest matmul precision.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.coding.frequencies import Decoder, Encoder, Symbols, Weights, Words, uniform, weights
from gen_jax.coding.tiles import Block
from gen_jax.coding.transcoder import Blocks, Coded
from gen_jax.typing import Variables


class Direct:
    """The transcoder of `codec == "direct"`: compiled once for a model and a number of lanes."""

    def __init__(self, model: Any, variables: Variables, lanes: int):
        self.model, self.lanes = model, lanes
        self.variables = jax.device_put(variables, jax.devices()[0])
        self._empty = jax.jit(self._init_cache)
        self._step = jax.jit(self._stepped, donate_argnums=1)
        self._write = jax.jit(self._written, donate_argnums=1)
        self._later = [
            jax.jit(partial(self._conditional, channel=channel))
            for channel in range(1, model.sites.shape[1])
        ]
        self._bits = jax.jit(self._model_bits)

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Labels, then the values of the blocks; labels cost log2 of the number of classes."""
        encoder, bits = Encoder(), 0.0
        if labels is not None:
            encoder.put(labels.astype(np.int32), uniform(len(labels), self.model.num_classes))
            bits += len(labels) * math.log2(self.model.num_classes)

        for block in blocks.read(labels):

            def choose(rows: Weights, given: Symbols) -> Symbols:
                encoder.put(given, rows)
                return given

            self._walk(block, choose)
            bits += float(self._bits(self.variables, *block))
        return Coded(encoder.words(), bits)

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """The same walk, reading."""
        decoder, labels = Decoder(words), None
        if self.model.num_classes:
            labels = np.concatenate(
                [
                    decoder.take(uniform(min(4096, num_labels - first), self.model.num_classes))
                    for first in range(0, num_labels, 4096)
                ]
            )
        for block in blocks.fill(labels):
            self._walk(block, lambda rows, _: decoder.take(rows))
        decoder.finish()
        return labels

    def _walk(self, block: Block, choose: Callable[[Weights, Symbols], Symbols]) -> None:
        """Visit the sites up to the last one coded; the block's values become what was chosen or filled in."""
        sites = self.model.sites
        needed = np.flatnonzero(block.coded[:, sites].any(axis=(0, 2)))
        values = np.zeros((self.lanes, sites.shape[1]), np.int32)
        cache = self._empty(self.variables, block.cond)
        for site in range(int(needed[-1]) + 1):
            if site:
                cache = self._write(self.variables, cache, site - 1, values)
            cache, params, pmf = self._step(self.variables, cache, site)
            values = np.zeros_like(values)
            for channel, where in enumerate(sites[site]):
                if channel:
                    pmf = self._later[channel - 1](params, values)
                probabilities = np.asarray(pmf)
                coded = block.coded[:, where]
                chosen = probabilities.argmax(axis=-1).astype(np.int32)
                if coded.any():
                    rows = weights(probabilities[coded])
                    chosen[coded] = choose(rows, block.values[coded, where])
                block.values[:, where] = values[:, channel] = chosen

    def _init_cache(self, variables, cond):
        return self._apply(variables, self.lanes, cond, method="init_cache")

    def _written(self, variables, cache, site, values):
        return self._apply(variables, cache, site, values, method="write")

    def _stepped(self, variables, cache, site):
        cache, params = self._apply(variables, cache, site, method="step")
        nothing = jnp.zeros((self.lanes, self.model.sites.shape[1]), jnp.int32)
        return cache, params, self._conditional(params, nothing, channel=0)

    def _conditional(self, params, values, channel):
        return self.model.head.conditional(params, channel, values)

    def _model_bits(self, variables, values, coded, cond):
        x = values.reshape(self.lanes, *self.model.event.shape)
        nats = -self._apply(variables, x, cond, method="log_prob_sites")
        inside = jnp.any(coded[:, self.model.sites], axis=-1)
        return jnp.sum(jnp.where(inside, nats, 0.0)) / math.log(2.0)

    def _apply(self, variables, *args, method: str):
        with jax.default_matmul_precision("highest"):
            return self.model.apply(variables, *args, method=method)
