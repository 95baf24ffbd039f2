"""Latent variable models as transcoders: -log2 p(x | z) - log2 p(z) + log2 q(z | x) bits per example (BB-ANS).

For each example the encoder pops the groups of z in order, each with q(z_k | z_<k, x), pushes x with p(x | z) and
pushes the groups in reverse, each with p(z_k | z_<k). The bits that the pops take off the stack are the bits got back.
If the model has classes, all of these are given the class of the example, and the labels are pushed last, so that the
decoder pops them first.
The expected length is the bound with one draw, or log p(x) itself if q is the exact posterior (Townsend, Bird and
Barber 2019, 1901.04866; Hinton and van Camp 1993). The decoder undoes these steps in reverse, so the encoder begins
with the last example.

Encoder and decoder must see equal bits. So both get priors and latents from a state without x, and posteriors from a
state with x, by the same programs; the encoder visits the groups with both states at once.

The first pop consumes initial bits that carry no message, and a larger first block proportionally more. So the encoder
begins with single examples; a block then has a quarter as many examples as are already on the stack, or less if a model
has so many latents that a pop takes more than four examples have left there. The decoder makes the same blocks in
reverse, with the same programs on the same shapes. Each block ends with a symbol that the decoder must find, so that it
stops at once after an error.

The bits on the stack come from earlier latents and from values decoded with them, so popping them does not draw from
q(z | x) if aggregate posterior and prior differ. A pad computed from the block's values makes it a draw, at no cost.
"""

import hashlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from gen_jax.coding.frequencies import Symbols, Weights, Words, uniform
from gen_jax.coding.latents import Latents, latents_of
from gen_jax.coding.stack import PAD, Stack
from gen_jax.coding.tiles import Block
from gen_jax.coding.transcoder import Blocks, Coded, check_length
from gen_jax.coding.walk import Choose, Walk
from gen_jax.errors import InputError
from gen_jax.typing import Variables

LABELS = 4096  # labels that are pushed or popped at once
SHARE = 5  # a block takes at most a fifth of the examples left to decode
RANDOM = 10  # bits per latent that the pad flips: the entropy of a standard normal in its bins
END = uniform(1, 4)
NOTHING = np.zeros(1, np.int32)


class Latent(NamedTuple):
    """A group of latents of the used lanes: symbols, values, and the parameters of its prior and its posterior."""

    symbols: Symbols
    z: np.ndarray
    p: Any
    q: Any


class BitsBack:
    """The transcoder of `codec == "bits_back"`: compiled once for a model and a number of lanes.

    The model has latents in groups, as `density.Latent`; `given`, which steps through p(x | z) with the state after the
    last group as its condition; and `order`, the positions of the event in the order of `given`.
    """

    def __init__(self, model: Any, variables: Variables, lanes: int):
        self.model, self.lanes = model, lanes
        self.groups = [latents_of(group) for group in model.groups]
        self.likelihood = Walk(model, variables, lanes, lambda model: model.given)
        self._order = self._program("order")
        self._begin = self._program("begin", lanes)
        number = None if getattr(model, "alike", False) else 2
        self._group, self._put = (self._program(name, static=number) for name in ("group", "put"))

    def share(self, left: int, version: int) -> int:
        """At most a fifth of the tiles left, which is a quarter of those that the encoder coded before.

        A pop takes about 10 bits a latent, and an example leaves about a bit a value. Before version 3 it was a fifth.
        """
        latents = sum(math.prod(group.shape) for group in self.model.groups)
        pops = math.ceil(RANDOM * latents / self.model.event.size)
        parts = SHARE if version < 3 else max(SHARE, 1 + pops)
        return max(1, min(self.lanes, left // parts))

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Code all blocks; the model's bits are its bound with one draw per tile, independent of the file's draw."""
        stack, rng = Stack(), np.random.default_rng(0)
        bits = squares = pushed = expected = 0.0

        def pop(k: int, p: Any, q: Any) -> tuple[Symbols, np.ndarray]:
            symbols = self.groups[k].pop_posterior(stack, q, p)
            return symbols, self.groups[k].values(symbols, p)

        def draw(k: int, p: Any, q: Any) -> tuple[Symbols, np.ndarray]:
            del p
            return NOTHING, self.groups[k].draw(rng, q)

        for block in blocks.read(labels, backwards=True):
            used, x = _events(block)
            stack.flip(self._pad(used, x))
            state, latents = self._visit(used, x, block.cond, pop)
            pushed -= stack.bits
            self._push(stack, block, state)
            pushed += stack.bits
            for group, latent in zip(reversed(self.groups), reversed(latents), strict=True):
                group.push_prior(stack, latent.symbols, latent.p)
            stack.push(NOTHING, END)

            values, of_file = self._bits(block, used, state, latents)
            _, of_model = self._bits(block, used, *self._visit(used, x, block.cond, draw))
            expected += float(values.sum())
            bits += float(of_model.sum())
            squares += float(np.sum((of_file - of_model) ** 2))
        check_length(pushed, expected)
        bits += _push_labels(stack, labels, self.model.num_classes)
        return Coded(stack.words(), bits, stack.initial_bits, math.sqrt(squares))

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """Undo `encode`: fill the values of the blocks, last block first."""
        stack = Stack(words)
        labels = _pop_labels(stack, num_labels, self.model.num_classes)

        def pop(k: int, p: Any, q: Any) -> tuple[Symbols, np.ndarray]:
            del q  # x is not known yet
            symbols = self.groups[k].pop_prior(stack, p)
            return symbols, self.groups[k].values(symbols, p)

        for block in blocks.fill(labels):
            if stack.pop(END).any():
                raise InputError("the coded events are damaged")
            used, _ = _events(block)
            state, latents = self._visit(used, None, block.cond, pop)
            self._walk(block, state, lambda rows, _: stack.pop(rows))
            _, x = _events(block)
            known = [(latent.symbols, latent.z) for latent in latents]
            _, latents = self._visit(used, x, block.cond, lambda k, p, q, known=known: known[k])
            for group, latent in zip(reversed(self.groups), reversed(latents), strict=True):
                group.push_posterior(stack, latent.symbols, latent.q, latent.p)
            stack.flip(self._pad(used, x))
        stack.finish()
        return labels

    def _visit(
        self,
        used: np.ndarray,
        x: np.ndarray | None,
        cond: Any,
        choose: Callable[[int, Any, Any], tuple[Symbols, np.ndarray]],
    ) -> tuple[Any, list[Latent]]:
        """The state after all groups and their latents, which `choose` decides from the parameters of the used lanes.

        The state is that without x; of x come the posteriors only.
        """
        state, after = self._begin(None, cond), None
        if x is not None:
            after = self._begin(x.reshape(self.lanes, *self.model.event.shape), cond)
        latents = []
        for k, group in enumerate(self.groups):
            state, p, _ = self._group(state, k)
            p, q = self._rows(group, p, used), None
            if x is not None:
                after, _, q = self._group(after, k)
                q = self._rows(group, q, used)
            symbols, z = choose(k, p, q)
            filled = np.zeros((self.lanes, *group.shape), group.dtype)
            filled[used] = z
            state = self._put(state, k, filled)
            if x is not None:
                after = self._put(after, k, filled)
            latents.append(Latent(symbols, z, p, q))
        return state, latents

    def _rows(self, group: Latents, params: Any, used: np.ndarray) -> Any:
        """Parameters of a group with a row for each used lane."""
        full = group.full(jax.tree.map(np.asarray, params), self.lanes)
        return jax.tree.map(lambda part: part[used], full)

    def _push(self, stack: Stack, block: Block, state: Any) -> None:
        """Push the values in the reverse order of the walk."""
        pushes: list[tuple[Symbols, Weights]] = []

        def record(rows: Weights, symbols: Symbols) -> Symbols:
            pushes.append((symbols, rows))
            return symbols

        self._walk(block, state, record)
        for symbols, rows in reversed(pushes):
            stack.push(symbols, rows)

    def _walk(self, block: Block, state: Any, choose: Choose) -> None:
        order, values, coded = self._ordered(block, state)
        self.likelihood.walk(values, coded, state, choose)
        np.put_along_axis(block.values, order, values, axis=1)

    def _bits(
        self, block: Block, used: np.ndarray, state: Any, latents: list[Latent]
    ) -> tuple[np.ndarray, np.ndarray]:
        """-log2 p(x | z) and -log2 p(x, z) / q(z | x) of each used lane, by the parallel pass."""
        _, values, coded = self._ordered(block, state)
        bits = total = self.likelihood.bits(values, coded, state)[used]
        for group, latent in zip(self.groups, latents, strict=True):
            total = total - group.log_ratio(latent.z, latent.q, latent.p) / math.log(2.0)
        return bits, total

    def _pad(self, used: np.ndarray, x: np.ndarray) -> Symbols:
        """Random bits for all latents of a block, computed from its values."""
        latents = sum(math.prod(group.shape) for group in self.groups)
        size = -(-RANDOM * int(used.sum()) * latents // PAD)
        pad = hashlib.shake_128(x.astype("<i4").tobytes()).digest(2 * size)
        return np.frombuffer(pad, "<u2").astype(np.int32)

    def _ordered(self, block: Block, state: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        order = np.asarray(self._order(state))
        values = np.take_along_axis(block.values, order, axis=1)
        return order, values, np.take_along_axis(block.coded, order, axis=1)

    def _program(self, method: str, *first: Any, static: int | None = None) -> Callable:
        """A compiled method of the model; `static`: the place of an argument that each program is made for.

        Groups have a program each, unless they are `alike`.
        """

        def apply(variables, *args):
            with jax.default_matmul_precision("highest"):
                return self.model.apply(variables, *first, *args, method=method)

        return partial(jax.jit(apply, static_argnums=static), self.likelihood.variables)


def _events(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """The used lanes, and the events of all lanes; values that are not coded are zero."""
    return np.any(block.coded, axis=1), np.where(block.coded, block.values, 0)


def _push_labels(stack: Stack, labels: np.ndarray | None, classes: int) -> float:
    """Push the labels, if any, under equal probabilities; returns their bits."""
    if labels is None:
        return 0.0
    for first in reversed(range(0, len(labels), LABELS)):
        part = labels[first : first + LABELS]
        stack.push(part.astype(np.int32), uniform(len(part), classes))
    return len(labels) * math.log2(classes)


def _pop_labels(stack: Stack, count: int, classes: int) -> np.ndarray | None:
    """Pop the labels, if the model has classes."""
    if not classes:
        return None
    firsts = range(0, count, LABELS)
    return np.concatenate([stack.pop(uniform(min(LABELS, count - i), classes)) for i in firsts])
