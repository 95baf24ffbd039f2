"""The interface between a file and a model: one transcoder for each value of `Density.codec`.

`direct`: an exact mass that steps, or several in stages; every value is coded with its conditional probability.
`bits_back`: a model with a latent variable; its transcoder pushes and pops latents on a stack.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from gen_jax.coding.frequencies import Words
from gen_jax.coding.tiles import Block

SLACK, SLACK_BYTES = 0.005, 64  # law 10: how much longer than the model's bits coded values may be


class Coded(NamedTuple):
    """The words of a file, and the bits of their content under the model's log p or a draw of its bound.

    `initial_bits`: the part of the words that carries no message, from which the first latents were popped.
    `error_bits`: standard error of (bits of words - `model_bits`) due to their different draws; 0 if log p is exact.
    """

    words: Words
    model_bits: float
    initial_bits: float = 0.0
    error_bits: float = 0.0


@runtime_checkable
class Blocks(Protocol):
    """The blocks of a file: `read` yields them with values, `fill` yields them empty for the caller to fill.

    Each block has the condition of its tiles: the labels, and values of the model's other conditions, which no file
    holds.
    """

    def read(self, labels: np.ndarray | None, backwards: bool = False) -> Iterator[Block]:
        """Blocks to encode, in order or backwards."""
        ...

    def fill(self, labels: np.ndarray | None) -> Iterator[Block]:
        """Blocks to decode, in order: a block must be filled before the next one is requested."""
        ...


@runtime_checkable
class Transcoder(Protocol):
    """Turns all blocks of a file into one stream of words and back.

    If the model has classes, the stream begins with the labels of all examples. Decoding needs `coded` of each block
    but no values; `coded` may depend on the header and the labels only.
    """

    def share(self, left: int, version: int) -> int:
        """How many of the tiles left the next block takes, in decoding order: 1 to the number of lanes.

        `version`: that of the file.
        """
        ...

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Code all blocks.

        FloatingPointError if the model's probabilities are not finite, or if the values take more bits than under the
        model's parallel pass, so that its steps do not agree with it.
        """
        ...

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """Fill the values of each block in turn and return the labels; InputError if the words are damaged."""
        ...


def check_length(bits: float, model_bits: float) -> None:
    """FloatingPointError if coded values take more bits than the parallel pass allows."""
    if bits - 8 * SLACK_BYTES > (1 + SLACK) * model_bits:
        raise FloatingPointError(
            f"the coded events take {bits / 8:,.0f} bytes, but log p of the model promises {model_bits / 8:,.0f}: its"
            " steps do not agree with its parallel pass"
        )
