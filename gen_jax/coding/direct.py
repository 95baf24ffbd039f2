"""Exact autoregressive models as transcoders: -log2 p(x_i | x_<i) bits a value, many tiles side by side.

Encoder and decoder make the same walk with the same compiled programs on the same shapes, so both see bit-identical
probabilities; the only difference is whether a symbol is written or read. So the encoder, though it knows all values,
steps as well: a parallel pass or a scan is another program, whose floats may differ in the last bit. Values outside an
image take the most probable level and are not coded. Everything runs on one device, at highest matmul precision.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gen_jax.coding.frequencies import Decoder, Encoder, Symbols, Weights, Words, uniform, weights
from gen_jax.coding.tiles import Block
from gen_jax.coding.transcoder import Blocks, Coded
from gen_jax.typing import Variables


class Programs(NamedTuple):
    """What runs on the device: once a block, once a site, once for each later channel of a site, once a block."""

    empty: Callable
    visit: Callable
    later: Callable
    bits: Callable


def put_labels(encoder: Encoder, labels: np.ndarray | None, classes: int) -> float:
    """Code the labels, where there are any, under equal probabilities; their bits."""
    if labels is None:
        return 0.0
    encoder.put(labels.astype(np.int32), uniform(len(labels), classes))
    return len(labels) * math.log2(classes)


def take_labels(decoder: Decoder, count: int, classes: int) -> np.ndarray | None:
    """The labels of a model with classes."""
    if not classes:
        return None
    firsts = range(0, count, 4096)
    parts = [decoder.take(uniform(min(4096, count - first), classes)) for first in firsts]
    return np.concatenate(parts)


class Direct:
    """The transcoder of `codec == "direct"`: compiled once for a model and a number of lanes."""

    def __init__(self, model: Any, variables: Variables, lanes: int):
        self.model, self.lanes = model, lanes
        self.variables = jax.device_put(variables, jax.devices()[0])
        self.programs = Programs(
            jax.jit(self._init_cache),
            jax.jit(self._visited, donate_argnums=1),
            jax.jit(self._conditional, static_argnames="channel"),
            jax.jit(self._model_bits),
        )

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Labels, then the values of the blocks; labels cost log2 of the number of classes."""
        encoder = Encoder()
        bits = put_labels(encoder, labels, self.model.num_classes)
        for block in blocks.read(labels):
            bits += self.put(encoder, block)
        return Coded(encoder.words(), bits)

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """The same walk, reading."""
        decoder = Decoder(words)
        labels = take_labels(decoder, num_labels, self.model.num_classes)
        for block in blocks.fill(labels):
            self.take(decoder, block)
        decoder.finish()
        return labels

    def put(self, encoder: Encoder, block: Block) -> float:
        """Code the values of a block; the bits that the model gives them."""

        def choose(rows: Weights, given: Symbols) -> Symbols:
            encoder.put(given, rows)
            return given

        self._walk(block, choose)
        return float(self.programs.bits(self.variables, *block))

    def take(self, decoder: Decoder, block: Block) -> None:
        """Fill the values of a block."""
        self._walk(block, lambda rows, _: decoder.take(rows))

    def _walk(self, block: Block, choose: Callable[[Weights, Symbols], Symbols]) -> None:
        """Visit the sites up to the last one coded; the block's values become what was chosen or filled in."""
        sites = self.model.sites
        needed = np.flatnonzero(block.coded[:, sites].any(axis=(0, 2)))
        values = np.zeros((self.lanes, sites.shape[1]), np.int32)
        cache = self.programs.empty(self.variables, block.cond)
        for site in range(int(needed[-1]) + 1):
            cache, params, pmf = self.programs.visit(self.variables, cache, site, values)
            values = np.zeros_like(values)
            for channel, where in enumerate(sites[site]):
                if channel:
                    pmf = self.programs.later(params, values, channel=channel)
                probabilities, coded = np.asarray(pmf), block.coded[:, where]
                if coded.all():
                    chosen = choose(weights(probabilities), block.values[:, where])
                else:
                    chosen = probabilities.argmax(axis=-1).astype(np.int32)
                    if coded.any():
                        rows = weights(probabilities[coded])
                        chosen[coded] = choose(rows, block.values[coded, where])
                block.values[:, where] = values[:, channel] = chosen

    def _init_cache(self, variables, cond):
        return self._apply(variables, self.lanes, cond, method="init_cache")

    def _visited(self, variables, cache, site, before):
        """Write what the site before took, then step: one call a site, as each costs the host its arguments."""
        write = partial(self._apply, variables, method="write")
        cache = lax.cond(
            site > 0,
            lambda cache: write(cache, site - 1, before),
            lambda cache: cache,
            cache,
        )
        cache, params = self._apply(variables, cache, site, method="step")
        nothing = jnp.zeros_like(before)
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
