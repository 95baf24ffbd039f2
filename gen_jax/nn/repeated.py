"""Equal blocks one after the other: written out, or one body under a scan, whose parameters have a leading axis.

A scan takes as long to compile as one block. `remat` keeps only the input of each block for the gradient and computes
the rest again: memory for about a third more time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

# What each block under a scan has of its own: arrays along a leading axis, and draws.
AXES: dict[Any, Any] = {"params": 0, "intermediates": 0}
RNGS: dict[Any, Any] = {"params": True, "dropout": True}

Blocks = nn.Module | Sequence[nn.Module]  # one module for a scan, or every block
Rows = Any  # an entry for each block: a list, or under a scan a stack
# body(block, carry, *inputs) gives the next carry and an output
Body = Callable[..., tuple[Any, Any]]


def repeated(make: Callable[[], nn.Module], count: int, scan: bool) -> Blocks:
    """`count` equal blocks, for `through`."""
    return make() if scan else [make() for _ in range(count)]


def through(
    blocks: Blocks,
    count: int,
    body: Body,
    carry: Any,
    *inputs: Rows,
    remat: bool = False,
    steps: bool = False,
) -> tuple[Any, Rows]:
    """carry, output = body(block, carry, *input) for block after block: the last carry, and the outputs.

    `steps`: the blocks compute at a row, site or time, and keep what they need later in the collection `cache`.
    """
    if isinstance(blocks, nn.Module) and not steps:
        again = nn.remat(body, prevent_cse=False) if remat else body
        scanned = nn.scan(again, AXES, split_rngs=RNGS, length=count)
        return scanned(blocks, carry, *map(_stacked, inputs))
    if isinstance(blocks, nn.Module):
        one = _from_stack(blocks, body)
    else:
        again = nn.remat(body) if remat and not steps else body
        one = lambda i, *args: again(blocks[i], *args)  # noqa: E731
    outputs = []
    for i in range(count):
        carry, output = one(i, carry, *(rows[i] for rows in inputs))
        outputs.append(output)
    return carry, outputs


def _from_stack(block: nn.Module, body: Body) -> Body:
    """body(i, carry, *input) of a block whose parameters are stacked, each i with its own part of the parent's cache.

    So a step writes the cache in place, where a scan would copy all of it.
    """
    parent: Any = block.parent
    params, alone = block.variables["params"], block.clone(parent=None)
    # Behind a barrier XLA takes the parameters of a block out of the stack once, not in every step of a loop.
    take = lambda i: jax.tree.map(lambda leaf: lax.optimization_barrier(leaf[i]), params)  # noqa: E731

    def one(i: int, *args: Any) -> tuple[Any, Any]:
        name = f"{block.name}_{i}"
        variables = {"params": take(i), "cache": parent.get_variable("cache", name, {})}
        result, updated = nn.apply(body, alone, mutable=["cache"])(variables, *args)
        parent.put_variable("cache", name, updated["cache"])
        return result

    return one


def _stacked(rows: Rows) -> Any:
    if isinstance(rows, list):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    return rows


def after(first: Array, rows: Rows) -> Rows:
    """The rows with one before them."""
    if isinstance(rows, list):
        return [first, *rows]
    return jnp.concatenate([first[None], rows])
