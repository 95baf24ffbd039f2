"""The rule from probabilities to integer frequencies, and the entropy coder that uses them.

With N = 2^24 and n levels: S_k = p_0 + ... + p_k in float64, c_k = floor((N - n) S_k / S_{n-1}), c_{-1} = 0 and
f_k = 1 + c_k - c_{k-1}. So the f_k sum to N and each is at least 1. Since f_k > p_k (N - n), a symbol costs at most
-log2(1 - n / N) bits more than under the model: 2.2e-5 bits at 256 levels.

The range coder of `constriction` gets f_k - 1 as weights. They sum to N - n, so it scales them by exactly 1, adds the 1
that it guarantees to each symbol and codes with f_k: this file decides the frequencies, not the library.
"""

import numpy as np
from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]  a compiled submodule
from jaxtyping import Float, Int32, UInt32

from gen_jax.errors import InputError

PRECISION = 24
TOTAL = 2**PRECISION
MAX_LEVELS = 2**16
LONGEST_TAIL = 2  # words at the end of a range coder's stream that it may not have written yet

Weights = Float[np.ndarray, "count levels"]
Symbols = Int32[np.ndarray, " count"]
Words = UInt32[np.ndarray, " words"]

_FAMILY = stream.model.Categorical(perfect=False)


def weights(pmf: Float[np.ndarray, "count levels"]) -> Weights:
    """f_k - 1 for each row, exact in float32; FloatingPointError if a row is not a distribution."""
    levels = pmf.shape[-1]
    cumulative = np.cumsum(pmf, axis=-1, dtype=np.float64)
    whole = cumulative[:, -1:].copy()
    if not (pmf.min(initial=0.0) >= 0 and np.all(whole > 0) and np.all(np.isfinite(whole))):
        raise FloatingPointError("the model's probabilities are not finite: nothing can be coded")
    cumulative /= whole
    cumulative *= TOTAL - levels
    np.floor(cumulative, out=cumulative)
    out = np.empty(pmf.shape, np.float32)
    out[:, 0] = cumulative[:, 0]
    np.subtract(cumulative[:, 1:], cumulative[:, :-1], out=out[:, 1:], casting="same_kind")
    return out


def uniform(count: int, levels: int) -> Weights:
    """`count` rows of equal probabilities."""
    return weights(np.full((count, levels), 1.0 / levels))


class Encoder:
    """From symbols to words, first in, first out."""

    def __init__(self):
        self._coder = stream.queue.RangeEncoder()

    def put(self, symbols: Symbols, rows: Weights) -> None:
        """Append one symbol for each row."""
        self._coder.encode(symbols, _FAMILY, rows)

    @property
    def num_words(self) -> int:
        """Number of words so far, including the end of the stream."""
        return self._coder.num_words()

    def words(self) -> Words:
        """All words written so far."""
        return self._coder.get_compressed()


class Decoder:
    """From words to symbols. It encodes the decoded symbols again, to detect words that encode nothing."""

    def __init__(self, words: Words):
        self._words = words
        self._coder = stream.queue.RangeDecoder(words)
        self._again = Encoder()

    def take(self, rows: Weights) -> Symbols:
        """The next symbol for each row; InputError if the words end too early or are not an encoding."""
        try:
            symbols = self._coder.decode(_FAMILY, rows)
        except AssertionError as error:
            raise InputError("the coded events are damaged") from error
        self._again.put(symbols, rows)
        if self._again.num_words > len(self._words) + LONGEST_TAIL:
            raise InputError("the coded events end too early")
        return symbols

    def finish(self) -> None:
        """InputError if the words are not exactly the encoding of the decoded symbols."""
        if not np.array_equal(self._again.words(), self._words):
            raise InputError("the coded events do not end where they should")
