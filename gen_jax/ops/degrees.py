"""Degrees of MADE's units: a unit of degree m sees the first m values of the order, an output those before its own.

Inputs have degrees 1..D along the order, hidden units random ones, masks follow from both (Germain, Gregor, Murray and
Larochelle 2015, 1502.03509, section 3). The random streams are frozen, so weights keep their masks for good.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from gen_jax.ops.masks import degree_mask
from gen_jax.ops.orders import order_of


class Degrees(NamedTuple):
    """For each of K masks the order, the degree of each position, and those of the hidden units, layer by layer.

    `units` holds a layer's units by rising degree, `starts[k, m]` how many have a degree below m, `most` the largest
    number with the same degree: so the units of degree m are a slice.
    """

    order: Int[np.ndarray, "K D"]
    position: Int[np.ndarray, "K D"]
    hidden: tuple[Int[np.ndarray, "K H"], ...]
    units: tuple[Int[np.ndarray, "K H"], ...]
    starts: tuple[Int[np.ndarray, "K D"], ...]
    most: tuple[int, ...]


@functools.cache
def draw(
    size: int, hidden: tuple[int, ...], order_seeds: tuple[int | None, ...], seed: int
) -> Degrees:
    """One mask for each order; degrees are uniform from the least of the layer before to D - 1.

    A unit of degree D would feed nothing. Of a single value (D = 1) the hidden units have degree 1 and feed nothing.
    """
    order = np.stack([order_of(size, order_seed) for order_seed in order_seeds])
    layers, least = [], np.ones(len(order), int)
    streams = [np.random.RandomState([seed, k]) for k in range(len(order))]
    for width in hidden:
        pairs = zip(streams, least, strict=True)
        layer = np.stack([stream.randint(low, max(size, 2), width) for stream, low in pairs])
        layers.append(layer)
        least = layer.min(axis=1)
    counts = [np.stack([np.bincount(row, minlength=size) for row in layer]) for layer in layers]
    return Degrees(
        order=order,
        position=np.argsort(order, axis=1) + 1,
        hidden=tuple(layers),
        units=tuple(np.argsort(layer, axis=1, kind="stable") for layer in layers),
        starts=tuple(np.cumsum(count, axis=1)[:, :size] - count[:, :size] for count in counts),
        most=tuple(int(count.max()) for count in counts),
    )


@functools.cache
def reach(
    size: int, hidden: tuple[int, ...], order_seed: int | None, seed: int
) -> Bool[np.ndarray, "D D"]:
    """reach[i, j]: some path through the hidden layers leads from the j-th value of the order to the i-th output."""
    degrees = [np.arange(size) + 1, *(h[0] for h in draw(size, hidden, (order_seed,), seed).hidden)]
    paths = np.eye(size, dtype=bool)
    for source, target in itertools.pairwise(degrees):
        paths = paths.astype(np.float32) @ degree_mask(source, target, strict=False) > 0
    return (paths.astype(np.float32) @ degree_mask(degrees[-1], degrees[0], strict=True) > 0).T
