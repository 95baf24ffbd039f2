"""Latent variable models as transcoders: -log2 p(x | z) - log2 p(z) + log2 q(z | x) bits per example (BB-ANS).

For each example the encoder pops z with q(z | x), pushes x with p(x | z) and pushes z with p(z). The bits that the pop
takes off the stack are the bits got back. The expected length is the bound with one draw, or log p(x) itself if q is
the exact posterior (Townsend, Bird and Barber 2019, 1901.04866; Hinton and van Camp 1993). The decoder undoes these
steps in reverse, so the encoder begins with the last example.

The first pop consumes initial bits that carry no message, and a larger first block proportionally more. So the encoder
begins with single examples; a block then has a quarter as many examples as are already on the stack. The decoder makes
the same blocks in reverse, with the same programs on the same shapes. Each block ends with a symbol that the decoder
must find, so that it stops at once after an error.

The bits on the stack come from earlier latents and from values decoded with them, so popping them does not draw from
q(z | x) if aggregate posterior and prior differ. A pad computed from the block's values makes it a draw, at no cost.
"""

import hashlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from gen_jax.coding.frequencies import Symbols, Weights, Words, uniform
from gen_jax.coding.latents import latents_of
from gen_jax.coding.stack import PAD, Stack
from gen_jax.coding.tiles import Block
from gen_jax.coding.transcoder import Blocks, Coded, check_length
from gen_jax.coding.walk import Choose, Walk
from gen_jax.errors import InputError
from gen_jax.typing import Variables

SHARE = 5  # a block takes a fifth of the examples left to decode
RANDOM = 10  # bits per latent that the pad flips: the entropy of a standard normal in its bins
END = uniform(1, 4)
NOTHING = np.zeros(1, np.int32)


class BitsBack:
    """The transcoder of `codec == "bits_back"`: compiled once for a model and a number of lanes.

    The model has `latents` and `encode` (see `coding/latents.py`); `given`, which steps through p(x | z) with z as its
    condition; and `order`, the positions of the event in the order of `given`.
    """

    def __init__(self, model: Any, variables: Variables, lanes: int):
        if model.num_classes:
            raise InputError("bits-back is for models without classes")
        self.model, self.lanes = model, lanes
        self.latents = latents_of(model.latents)
        self.likelihood = Walk(model, variables, lanes, lambda model: model.given)
        self._encode, self._order = self._program("encode"), self._program("order")

    def share(self, left: int) -> int:
        """A fifth of the tiles left, which is a quarter of those that the encoder coded before."""
        return max(1, min(self.lanes, left // SHARE))

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Code all blocks; the model's bits are its bound with one draw per tile, independent of the file's draw."""
        stack, rng = Stack(), np.random.default_rng(0)
        bits = squares = pushed = expected = 0.0
        for block in blocks.read(labels, backwards=True):
            used, pad, params = self._latent(block)
            stack.flip(pad)
            symbols = self.latents.pop_posterior(stack, *params)
            z = self.latents.values(symbols)
            pushed -= stack.bits
            self._push(stack, block, self._filled(used, z))
            pushed += stack.bits
            self.latents.push_prior(stack, symbols)
            stack.push(NOTHING, END)

            values, of_file = self._bits(block, used, z, params)
            _, of_model = self._bits(block, used, self.latents.draw(rng, *params), params)
            expected += float(values.sum())
            bits += float(of_model.sum())
            squares += float(np.sum((of_file - of_model) ** 2))
        check_length(pushed, expected)
        return Coded(stack.words(), bits, stack.initial_bits, math.sqrt(squares))

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """Undo `encode`: fill the values of the blocks, last block first."""
        del num_labels  # no classes
        stack = Stack(words)
        for block in blocks.fill(None):
            if stack.pop(END).any():
                raise InputError("the coded events are damaged")
            used: np.ndarray = np.any(block.coded, axis=1)
            symbols = self.latents.pop_prior(stack, int(used.sum()))
            z = self._filled(used, self.latents.values(symbols))
            self._walk(block, z, lambda rows, _: stack.pop(rows))
            _, pad, params = self._latent(block)
            self.latents.push_posterior(stack, symbols, *params)
            stack.flip(pad)
        stack.finish()

    def _push(self, stack: Stack, block: Block, z: np.ndarray) -> None:
        """Push the values in the reverse order of the walk."""
        pushes: list[tuple[Symbols, Weights]] = []

        def record(rows: Weights, symbols: Symbols) -> Symbols:
            pushes.append((symbols, rows))
            return symbols

        self._walk(block, z, record)
        for symbols, rows in reversed(pushes):
            stack.push(symbols, rows)

    def _walk(self, block: Block, z: np.ndarray, choose: Choose) -> None:
        order, values, coded = self._ordered(block, z)
        self.likelihood.walk(values, coded, z, choose)
        np.put_along_axis(block.values, order, values, axis=1)

    def _bits(
        self, block: Block, used: np.ndarray, z: np.ndarray, params: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """-log2 p(x | z) and -log2 p(x, z) / q(z | x) of each used lane, by the parallel pass."""
        filled = self._filled(used, z)
        _, values, coded = self._ordered(block, filled)
        bits = self.likelihood.bits(values, coded, filled)[used]
        return bits, bits - self.latents.log_ratio(z, *params) / math.log(2.0)

    def _latent(self, block: Block) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """The used lanes, a pad, and the parameters of q(z | x) of these lanes; values that are not coded are zero."""
        x = np.where(block.coded, block.values, 0)
        used: np.ndarray = np.any(block.coded, axis=1)
        encoded = self._encode(x.reshape(self.lanes, *self.model.event.shape))
        size = -(-RANDOM * int(used.sum()) * math.prod(self.latents.shape) // PAD)
        pad = hashlib.shake_128(x.astype("<i4").tobytes()).digest(2 * size)
        params = [np.asarray(part)[used] for part in jax.tree.leaves(encoded)]
        return used, np.frombuffer(pad, "<u2").astype(np.int32), params

    def _ordered(self, block: Block, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        order = np.asarray(self._order(z))
        values = np.take_along_axis(block.values, order, axis=1)
        return order, values, np.take_along_axis(block.coded, order, axis=1)

    def _filled(self, used: np.ndarray, z: np.ndarray) -> np.ndarray:
        """z with a row for each lane, zero for unused lanes."""
        out = np.zeros((self.lanes, *self.latents.shape), self.latents.dtype)
        out[used] = z
        return out

    def _program(self, method: str) -> Callable:
        """A compiled method of the model."""

        def apply(variables, *args):
            with jax.default_matmul_precision("highest"):
                return self.model.apply(variables, *args, method=method)

        return partial(jax.jit(apply), self.likelihood.variables)
