"""The door between a file and a model: one transcoder for each value of `Density.codec`.

`direct` is an exact mass that steps, or several in stages: every value is coded by its own conditional probability.
`bits_back` is for latent variable models, whose transcoder pushes and pops latents on a stack; it has this protocol and
is not written yet.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from gen_jax.coding.frequencies import Words
from gen_jax.coding.tiles import Block
from gen_jax.errors import InputError
from gen_jax.typing import Variables


class Coded(NamedTuple):
    """The words of a file, and the bits that the model's own log p gives to what they hold."""

    words: Words
    model_bits: float


@runtime_checkable
class Blocks(Protocol):
    """The blocks of a file: `read` gives each with its values, `fill` each without and takes it back filled."""

    def read(self, labels: np.ndarray | None) -> Iterator[Block]:
        """Blocks to encode."""
        ...

    def fill(self, labels: np.ndarray | None) -> Iterator[Block]:
        """Blocks to decode: when the next is asked for, the one before is full."""
        ...


@runtime_checkable
class Transcoder(Protocol):
    """Turns all blocks of a file into one stream of words and back.

    The stream begins with the labels of all examples, where the model has classes. Decoding needs the marks of each
    block but no values, and a block's marks may depend on nothing but the header and the labels.
    """

    def encode(self, blocks: Blocks, labels: np.ndarray | None) -> Coded:
        """Code the blocks in turn; FloatingPointError where the model's probabilities are none."""
        ...

    def decode(self, words: Words, blocks: Blocks, num_labels: int) -> np.ndarray | None:
        """Fill the values of each block in turn and return the labels; InputError where the words are damaged."""
        ...


def transcoder_for(model: object, variables: Variables, lanes: int) -> Transcoder:
    """The transcoder of the model's codec; InputError where it has none."""
    codec = getattr(model, "codec", "none")
    if codec == "direct":
        from gen_jax.coding.direct import Direct
        from gen_jax.coding.staged import Staged

        return (Staged if hasattr(model, "stages") else Direct)(model, variables, lanes)
    name = type(model).__name__
    if codec == "bits_back":
        raise InputError(f"{name} codes by bits-back, which is not written yet")
    raise InputError(f"{name} gives no exact probabilities, so it cannot compress")
