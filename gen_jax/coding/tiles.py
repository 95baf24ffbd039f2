"""Images of any size, split into tiles of the model's event; padding outside an image is marked and not coded.

An array (N, H, W, C) of images is split into tiles of the event's height and width in raster order, image by image.
Other events must have the model's shape. All tiles of all arrays form one sequence.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int32

from gen_jax.errors import InputError
from gen_jax.typing import Event

Shape = tuple[int, ...]


class Tile(NamedTuple):
    """The place of a tile: array, row in the array, first pixel; `example` counts rows over all arrays."""

    array: int
    row: int
    top: int
    left: int
    example: int


class Block(NamedTuple):
    """The tiles of one batch, flattened: their values, which values lie inside an image, the condition of each tile.

    The condition is the class or, for a stage of a model, whatever that is given (`gen_jax/conditions.py`). `palettes`
    has the only colours of the image of each tile, or None if there may be any.
    """

    values: Int32[np.ndarray, "lanes D"]
    coded: Bool[np.ndarray, "lanes D"]
    cond: Any
    palettes: Sequence[np.ndarray | None] = ()


def as_events(shape: Shape, event: Event) -> Shape:
    """The shape with all axes of the event: grey images may lack the last axis; InputError if it cannot fit."""
    if len(event.shape) == 3:
        if len(shape) == 3 and event.shape[2] == 1:
            shape = (*shape, 1)
        if len(shape) == 4 and shape[3] == event.shape[2]:
            return shape
    elif shape[1:] == event.shape:
        return shape
    raise InputError(f"examples have shape {shape[1:]}, the model is of shape {event.shape}")


def tiles(shapes: Sequence[Shape], event: Event) -> Iterator[Tile]:
    """All tiles in coding order; `shapes` are those of `as_events`."""
    before = 0
    for array, shape in enumerate(shapes):
        image = len(event.shape) == 3
        tops = range(0, shape[1], event.shape[0]) if image else (0,)
        lefts = range(0, shape[2], event.shape[1]) if image else (0,)
        for row in range(shape[0]):
            for top in tops:
                for left in lefts:
                    yield Tile(array, row, top, left, before + row)
        before += shape[0]


def count(shapes: Sequence[Shape], event: Event) -> int:
    """The number of tiles."""
    if len(event.shape) != 3:
        return sum(shape[0] for shape in shapes)
    high, wide, _ = event.shape
    return sum(shape[0] * -(-shape[1] // high) * -(-shape[2] // wide) for shape in shapes)


def empty(
    group: Sequence[Tile],
    shapes: Sequence[Shape],
    event: Event,
    lanes: int,
    cond: Any,
) -> Block:
    """A block of zeros with `coded` and the condition of each tile, from those of all examples.

    In lanes without a tile nothing is coded, and the condition is zeros.
    """
    coded = np.zeros((lanes, *event.shape), bool)
    for lane, tile in enumerate(group):
        _, inside = _regions(tile, shapes[tile.array], event)
        coded[lane][inside] = True
    examples = [tile.example for tile in group]

    def of_tiles(part: np.ndarray) -> np.ndarray:
        rows = np.zeros((lanes, *part.shape[1:]), part.dtype)
        rows[: len(group)] = part[examples]
        return rows

    values = np.zeros((lanes, event.size), np.int32)
    return Block(values, coded.reshape(lanes, -1), jax.tree.map(of_tiles, cond))


def cut(block: Block, group: Sequence[Tile], arrays: Sequence[np.ndarray], event: Event) -> None:
    """Copy the tiles' values into the block."""
    values = block.values.reshape(-1, *event.shape)
    for lane, tile in enumerate(group):
        where, inside = _regions(tile, arrays[tile.array].shape, event)
        values[lane][inside] = arrays[tile.array][tile.row][where]


def paste(block: Block, group: Sequence[Tile], arrays: Sequence[np.ndarray], event: Event) -> None:
    """Copy the block's values into the arrays."""
    values = block.values.reshape(-1, *event.shape)
    for lane, tile in enumerate(group):
        where, inside = _regions(tile, arrays[tile.array].shape, event)
        arrays[tile.array][tile.row][where] = values[lane][inside]


def values_of(x: np.ndarray, event: Event) -> np.ndarray:
    """The array with all axes of the event; InputError if shape, type or values do not fit the model."""
    if x.dtype.kind not in "iub":
        raise InputError(f"examples are {x.dtype}, the model is of integers")
    if x.ndim == 0 or not x.size:
        raise InputError("it contains no examples")
    x = x.reshape(as_events(x.shape, event))
    refusal = Event(x.shape[1:], event.levels).refusal(x.astype(np.uint8) if x.dtype == bool else x)
    if refusal:
        raise InputError(refusal)
    return x


def _regions(tile: Tile, shape: Shape, event: Event) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of the image that the tile covers, in coordinates of the image and of the tile."""
    if len(event.shape) != 3:
        return (), ()
    high = min(event.shape[0], shape[1] - tile.top)
    wide = min(event.shape[1], shape[2] - tile.left)
    where = (slice(tile.top, tile.top + high), slice(tile.left, tile.left + wide))
    return where, (slice(high), slice(wide))
