"""The door between a file and a model: one transcoder for each value of `Density.codec`.

`direct` is an exact mass that steps, or several in stages: every value is coded by its own conditional probability.
`bits_back` is a model with a latent variable, whose transcoder pushes and pops latents on a stack.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from gen_jax.coding.frequencies import Words
from gen_jax.coding.tiles import Block

SLACK, SLACK_BYTES = 0.005, 64  # law 10: how far coded values may lie above the model's own bits


class Coded(NamedTuple):
    """The words of a file, and the bits that the model's own log p, or a draw of its bound, gives to what they hold.

    `initial_bits` of the words are no message but what the first latents were popped from. `error_bits` is the standard
    error of bits of words minus `model_bits` that comes from different draws in both: 0 where log p is exact.
    """

    words: Words
    model_bits: float
    initial_bits: float = 0.0
    error_bits: float = 0.0


@runtime_checkable
class Blocks(Protocol):
    """The blocks of a file: `read` gives each with its values, `fill` each without and takes it back filled."""

    def read(self, labels: np.ndarray | None, backwards: bool = False) -> Iterator[Block]:
        """Blocks to encode, the first first or the last first."""
        ...

    def fill(self, labels: np.ndarray | None) -> Iterator[Block]:
        """Blocks to decode, the first first: when the next is asked for, the one before is full."""
        ...


@runtime_checkable
class Transcoder(Protocol):
    """Turns all blocks of a file into one stream of words and back.

    The stream begins with the labels of all examples, where the model has classes. Decoding needs the marks of each
    block but no values, and a block's marks may depend on nothing but the header and the labels.
    """

    def share(self, left: int) -> int:
        """How many of the tiles left the next block takes in the order of decoding: 1 to the number of lanes."""
        ...

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Code all blocks.

        FloatingPointError where the model's probabilities are none, or where the values take more bits than the
        model's parallel pass gives them: then its steps do not agree with it.
        """
        ...

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """Fill the values of each block in turn and return the labels; InputError where the words are damaged."""
        ...


def check_length(bits: float, model_bits: float) -> None:
    """FloatingPointError where coded values take more bits than those of the parallel pass allow."""
    if bits - 8 * SLACK_BYTES > (1 + SLACK) * model_bits:
        raise FloatingPointError(
            f"the coded events take {bits / 8:,.0f} bytes where the model's own log p says {model_bits / 8:,.0f}:"
            " its steps do not agree with its parallel pass"
        )
