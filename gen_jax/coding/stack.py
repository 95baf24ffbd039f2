"""A stack of symbols in words: asymmetric numeral systems (Duda 2013, 1311.2540), by the coder of `constriction`.

Push and pop are each other's inverse, so a pop is a draw that can be put back: bits-back (Hinton and van Camp 1993;
Townsend, Bird and Barber 2019, 1901.04866). What is popped is as random as the bits on the stack, which need not be
random at all; flipped by a pad, they are as random as the pad.
"""

import hashlib
from typing import Any

import numpy as np
from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]  a compiled submodule

from gen_jax.coding.frequencies import PRECISION, Symbols, Weights, Words
from gen_jax.errors import InputError

STATE = 2  # words of the coder's state: fewer, and it has been popped from below its bottom
PAD = 16  # bits of each number of a pad


_CATEGORICAL, _UNIFORM = stream.model.Categorical(perfect=False), stream.model.Uniform()


def bottom(count: int) -> Words:
    """What an empty stack is taken to stand on: the last words of random ones without end, the first on top."""
    random = hashlib.shake_128(b"gen_jax").digest(4 * count)
    return np.frombuffer(random, "<u4").astype(np.uint32)[::-1]


class Stack:
    """Last in first out. Empty, it stands on as many words as are popped below it; of given words it has no more.

    InputError where the given words are no stack's.
    """

    def __init__(self, words: Words | None = None):
        self._given = words is not None
        try:
            self._coder = stream.stack.AnsCoder(np.ones(1, np.uint32) if words is None else words)
        except ValueError as error:
            raise InputError("the coded events are damaged") from error
        self._below, self._untouched = 1, 0  # words of the empty stack, and those never reached

    @property
    def bits(self) -> float:
        """How much lies on the stack."""
        return float(self._coder.num_valid_bits())

    @property
    def initial_bits(self) -> float:
        """Bits of the words that the first pops needed below the bottom."""
        return 32.0 * (self._below - self._untouched)

    def push(self, symbols: Symbols, rows: Weights) -> None:
        """Undo the pop of these symbols by these rows."""
        self._coder.encode_reverse(symbols, _CATEGORICAL, rows)

    def pop(self, rows: Weights) -> Symbols:
        """One symbol for each row; InputError where the given words end before it."""
        return self._popped(_CATEGORICAL, rows)

    def flip(self, pad: Symbols) -> None:
        """Flip the uppermost bits by a pad, 16 for each number; to do it twice is to undo it."""
        sizes = np.full(len(pad), 2**PAD, np.int32)
        flipped = self._popped(_UNIFORM, sizes) ^ pad
        self._coder.encode_reverse(flipped, _UNIFORM, sizes)

    def words(self) -> Words:
        """All words, without those at the bottom that were never reached."""
        return self._coder.get_compressed()[self._untouched :]

    def finish(self) -> None:
        """InputError where the words left are not those of an empty stack."""
        left = self._coder.get_compressed()
        if not np.array_equal(left, [*bottom(len(left) - 1), 1]):
            raise InputError("the coded events do not end where they should")

    def _popped(self, family: Any, params: np.ndarray) -> Symbols:
        if not self._given:
            self._deepen(len(params))
        symbols = self._coder.decode(family, params)
        if self._coder.num_words() < STATE:
            raise InputError("the coded events end too early")
        self._untouched = min(self._untouched, self._coder.pos()[0])
        return symbols

    def _deepen(self, symbols: int) -> None:
        """Put words below, so that so many symbols, of at most PRECISION bits each, cannot empty the stack."""
        missing = -(-symbols * PRECISION // 32) + STATE + 1 - self._coder.num_words()
        if missing > 0:
            below = bottom(self._below - 1 + missing)[:missing]
            self._coder = stream.stack.AnsCoder(np.append(below, self._coder.get_compressed()))
            self._below, self._untouched = self._below + missing, self._untouched + missing
