"""The one rule from probabilities to integer frequencies, and the entropy coder that codes by them.

With N = 2^24 and n levels: S_k = p_0 + ... + p_k in float64, c_k = floor((N - n) S_k / S_{n-1}), c_{-1} = 0 and
f_k = 1 + c_k - c_{k-1}. So the f_k sum to N, each is at least 1, and as f_k > p_k (N - n) a symbol costs at most
-log2(1 - n / N) bits more than the model says: 2.2e-5 bits at 256 levels.

The range coder of `constriction` is handed f_k - 1 as weights. They sum to N - n, so it scales by exactly 1, adds the
1 that it guarantees to each symbol and codes by f_k: the rule is this file's, not the library's.
"""

import numpy as np
from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]  a compiled submodule
from jaxtyping import Float, Int32, UInt32

from gen_jax.errors import InputError

PRECISION = 24
TOTAL = 2**PRECISION
MAX_LEVELS = 2**16
LONGEST_TAIL = 2  # words that the end of a range coder's stream may still hold back

Weights = Float[np.ndarray, "count levels"]
Symbols = Int32[np.ndarray, " count"]
Words = UInt32[np.ndarray, " words"]

_FAMILY = stream.model.Categorical(perfect=False)


def weights(pmf: Float[np.ndarray, "count levels"]) -> Weights:
    """f_k - 1 of each row, exact in float32; FloatingPointError where a row is no distribution."""
    levels = pmf.shape[-1]
    cumulative = np.cumsum(pmf, axis=-1, dtype=np.float64)
    whole = cumulative[:, -1:].copy()
    if not (pmf.min(initial=0.0) >= 0 and np.all(whole > 0) and np.all(np.isfinite(whole))):
        raise FloatingPointError("the model's probabilities are not finite: nothing can be coded")
    cumulative /= whole
    cumulative *= TOTAL - levels
    np.floor(cumulative, out=cumulative)
    found = np.empty(pmf.shape, np.float32)
    found[:, 0] = cumulative[:, 0]
    np.subtract(cumulative[:, 1:], cumulative[:, :-1], out=found[:, 1:], casting="same_kind")
    return found


def uniform(count: int, levels: int) -> Weights:
    """`count` rows of equal probabilities."""
    return weights(np.full((count, levels), 1.0 / levels))


class Encoder:
    """Symbols in, words out, first in first out."""

    def __init__(self):
        self._coder = stream.queue.RangeEncoder()

    def put(self, symbols: Symbols, rows: Weights) -> None:
        """Append one symbol for each row."""
        self._coder.encode(symbols, _FAMILY, rows)

    @property
    def num_words(self) -> int:
        """Words so far, with the end that closes them."""
        return self._coder.num_words()

    def words(self) -> Words:
        """All words written so far."""
        return self._coder.get_compressed()


class Decoder:
    """Words in, symbols out. It encodes again what it decodes, so that words that are nobody's encoding are seen."""

    def __init__(self, words: Words):
        self._words = words
        self._coder = stream.queue.RangeDecoder(words)
        self._again = Encoder()

    def take(self, rows: Weights) -> Symbols:
        """The next symbol for each row; InputError where the words end before it or were never an encoding."""
        try:
            symbols = self._coder.decode(_FAMILY, rows)
        except AssertionError as error:
            raise InputError("the coded events are damaged") from error
        self._again.put(symbols, rows)
        if self._again.num_words > len(self._words) + LONGEST_TAIL:
            raise InputError("the coded events end too early")
        return symbols

    def finish(self) -> None:
        """InputError where the words are not exactly those of the symbols taken: the coder's end state."""
        if not np.array_equal(self._again.words(), self._words):
            raise InputError("the coded events do not end where they should")
