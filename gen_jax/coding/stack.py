"""A stack of symbols in words: asymmetric numeral systems (Duda 2013, 1311.2540), with the coder of `constriction`.

Push and pop are inverse to each other, so a pop is a draw that can be put back: bits-back (Hinton and van Camp 1993;
Townsend, Bird and Barber 2019, 1901.04866). A popped symbol is as random as the bits on the stack, which need not be
random at all; flipped by a pad, they are as random as the pad.
"""

import hashlib
from typing import Any

import numpy as np
from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]  a compiled submodule

from gen_jax.coding.frequencies import PRECISION, Symbols, Weights, Words
from gen_jax.errors import InputError

STATE = 2  # words of the coder's state: with fewer, it was popped below its bottom
PAD = 16  # bits of each number in a pad


_CATEGORICAL, _UNIFORM = stream.model.Categorical(perfect=False), stream.model.Uniform()


def bottom(count: int) -> Words:
    """The words below an empty stack: the first `count` of an endless random sequence, the first on top."""
    random = hashlib.shake_128(b"gen_jax").digest(4 * count)
    return np.frombuffer(random, "<u4").astype(np.uint32)[::-1]


class Stack:
    """Last in, first out. Below a new stack lie as many random words as are popped; below a read one lies nothing.

    InputError if the words that are read are not a stack.
    """

    def __init__(self, words: Words | None = None):
        self._read = words is not None
        try:
            self._coder = stream.stack.AnsCoder(np.ones(1, np.uint32) if words is None else words)
        except ValueError as error:
            raise InputError("the coded events are damaged") from error
        self._below, self._untouched = 1, 0  # words below the stack, and those of them never popped

    @property
    def bits(self) -> float:
        """The number of bits on the stack."""
        return float(self._coder.num_valid_bits())

    @property
    def initial_bits(self) -> float:
        """The bits of the words below the bottom that the first pops consumed."""
        return 32.0 * (self._below - self._untouched)

    def push(self, symbols: Symbols, rows: Weights) -> None:
        """Push one symbol for each row; undoes a `pop` with the same rows."""
        self._coder.encode_reverse(symbols, _CATEGORICAL, rows)

    def pop(self, rows: Weights) -> Symbols:
        """Pop one symbol for each row; InputError if the words that were read end too early."""
        return self._popped(_CATEGORICAL, rows)

    def flip(self, pad: Symbols) -> None:
        """Flip the uppermost bits with a pad, 16 bits for each number; a second flip undoes it."""
        sizes = np.full(len(pad), 2**PAD, np.int32)
        flipped = self._popped(_UNIFORM, sizes) ^ pad
        self._coder.encode_reverse(flipped, _UNIFORM, sizes)

    def words(self) -> Words:
        """All words, without those below the bottom that were never popped."""
        return self._coder.get_compressed()[self._untouched :]

    def finish(self) -> None:
        """InputError if the remaining words are not those of an empty stack."""
        left = self._coder.get_compressed()
        if not np.array_equal(left, [*bottom(len(left) - 1), 1]):
            raise InputError("the coded events do not end where they should")

    def _popped(self, family: Any, params: np.ndarray) -> Symbols:
        if not self._read:
            self._deepen(len(params))
        symbols = self._coder.decode(family, params)
        if self._coder.num_words() < STATE:
            raise InputError("the coded events end too early")
        self._untouched = min(self._untouched, self._coder.pos()[0])
        return symbols

    def _deepen(self, symbols: int) -> None:
        """Put words below, so that popping `symbols` symbols of at most PRECISION bits cannot empty the stack."""
        missing = -(-symbols * PRECISION // 32) + STATE + 1 - self._coder.num_words()
        if missing > 0:
            below = bottom(self._below - 1 + missing)[:missing]
            self._coder = stream.stack.AnsCoder(np.append(below, self._coder.get_compressed()))
            self._below, self._untouched = self._below + missing, self._untouched + missing
