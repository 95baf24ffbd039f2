# Methods of protocols have no body.
# pyright: reportReturnType=false
"""What the blocks of a network give, as features of its input: what a linear probe reads (`evaluate/probe.py`).

A network calls `show` after each of its blocks, where it computes all places at once. That costs nothing unless
somebody reads the features.
"""

from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from gen_jax.typing import Variables

COLLECTION, BLOCKS, REPEATED = "intermediates", "blocks", "repeated_blocks"


@runtime_checkable
class Featured(Protocol):
    """A model whose network shows its blocks."""

    def block_features(self, x: Array) -> tuple[Float[Array, "B F"], ...]:
        """What each block gives for an example, first block first; empty if the network shows none."""


def show(module: nn.Module, h: Float[Array, "B *places F"], part: str = "") -> None:
    """Show what a block gives. A module whose blocks lie before and after a submodule's names the two parts."""
    module.sow(COLLECTION, BLOCKS + part, h)


def show_repeated(module: nn.Module, h: Float[Array, "B *places F"]) -> None:
    """Show what a block gives that a scan repeats, after its other blocks."""
    module.sow(COLLECTION, REPEATED, h)


def features(model: nn.Module, variables: Variables, x: Array) -> tuple[Float[Array, "B F"], ...]:
    """The mean over all places of what each block shows while a model's `__call__` computes, first block first."""
    both: Any = model.apply(variables, x, mutable=[COLLECTION])
    shown: dict[tuple[str, ...], Any] = flatten_dict(both[1].get(COLLECTION, {}))
    found: list[Array] = []
    for path, blocks in shown.items():
        if path[-1].startswith(BLOCKS):
            found += blocks
        elif path[-1] == REPEATED:  # the first axis counts the repetitions
            found += [block[i] for i in range(len(blocks[0])) for block in blocks]
    return tuple(jnp.mean(h.reshape(len(h), -1, h.shape[-1]), axis=1) for h in found)
