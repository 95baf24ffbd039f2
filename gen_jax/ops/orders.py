"""Orders of generation: the places of an image, each once, from the first that is generated to the last.

An order is a value: a config stores it, and a model's `sites` follow from it. A place is a row and a column, written
as row x width + column; the channels of a pixel lie at one place. A sequence is an image of one row.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from gen_jax.errors import InputError

SYMMETRIES = 8  # of a rectangle, if its sides may change places


@dataclass(frozen=True)
class Order:
    """An order of generation for images of any size that it suits; a subclass defines `places`."""

    def places(self, height: int, width: int) -> Int[np.ndarray, " places"]:
        """All places of an image, in order of generation; InputError on sizes that the order does not suit."""
        raise TypeError(f"{type(self).__name__} does not define its places")


@dataclass(frozen=True)
class Raster(Order):
    """Row by row from the top, each from left to right."""

    def places(self, height: int, width: int) -> Int[np.ndarray, " places"]:
        return np.arange(height * width)


@dataclass(frozen=True)
class SCurve(Order):
    """Row by row, every second one from right to left, so that each place is next to the one before.

    Variants 0 to 7 are its mirror images: 1 swaps left and right, 2 top and bottom, 4 rows and columns, and sums of
    these do so together (as Jain, Abbeel and Pathak 2020, 2006.12486, generate images).
    """

    variant: int = 0

    def __post_init__(self):
        _require_variant(self)

    def places(self, height: int, width: int) -> Int[np.ndarray, " places"]:
        grid = _mirrored(height, width, self.variant).copy()
        grid[1::2] = grid[1::2, ::-1]
        return grid.reshape(-1)


@dataclass(frozen=True)
class Hilbert(Order):
    """Hilbert's curve, which visits one quarter of an image after the other, generalised to sides of any length.

    Each place touches the one before: at a side, or at a corner where a side is odd. Variants as of `SCurve`.
    """

    variant: int = 0

    def __post_init__(self):
        _require_variant(self)

    def places(self, height: int, width: int) -> Int[np.ndarray, " places"]:
        grid = _mirrored(height, width, self.variant)
        rows, columns = grid.shape
        long, short = (0, columns), (rows, 0)
        if rows > columns:
            long, short = short, long
        return np.array([grid[place] for place in _hilbert((0, 0), long, short)])


@dataclass(frozen=True)
class Shuffled(Order):
    """A random permutation. The stream of a seed is frozen, so weights keep their order for good."""

    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.seed < 2**32:
            raise InputError(f"the seed of an order must lie in [0, 2^32), not {self.seed}")

    def places(self, height: int, width: int) -> Int[np.ndarray, " places"]:
        return np.random.RandomState(self.seed).permutation(height * width)


@dataclass(frozen=True)
class Tiles(Order):
    """Tile by tile in raster order, and in raster order inside a tile (as Parmar et al. 2018, 1802.05751)."""

    height: int
    width: int

    def __post_init__(self):
        if min(self.height, self.width) < 1:
            raise InputError(f"tiles need sides of at least 1, not {self.height}x{self.width}")

    def places(self, height: int, width: int) -> Int[np.ndarray, " places"]:
        if height % self.height or width % self.width:
            raise InputError(
                f"tiles of {self.height}x{self.width} do not cover {height}x{width} places without a rest"
            )
        grid = np.arange(height * width).reshape(height, width)
        tiles = grid.reshape(height // self.height, self.height, width // self.width, self.width)
        return np.swapaxes(tiles, 1, 2).reshape(-1)


@dataclass(frozen=True)
class ObservedFirst(Order):
    """The observed places as `base` orders them, then all others as it orders them.

    `mask` has a string for each row of the image, of 1 where a place is observed and 0 elsewhere.
    """

    base: Order
    mask: tuple[str, ...]

    def __post_init__(self):
        widths = {len(row) for row in self.mask}
        if len(widths) != 1 or set("".join(self.mask)) - {"0", "1"}:
            raise InputError("the mask of an order needs rows of one length, each of 0 and 1 only")

    @classmethod
    def of(cls, base: Order, observed: Bool[np.ndarray, "H W"]) -> "ObservedFirst":
        """The order that sees these places first."""
        return cls(base, tuple("".join("01"[place] for place in row) for row in observed.tolist()))

    def places(self, height: int, width: int) -> Int[np.ndarray, " places"]:
        if (len(self.mask), len(self.mask[0])) != (height, width):
            raise InputError(
                f"the order's mask is for images of {len(self.mask)}x{len(self.mask[0])} places, not {height}x{width}"
            )
        places = self.base.places(height, width)
        observed = np.array([int(place) for place in "".join(self.mask)], bool)[places]
        return np.concatenate([places[observed], places[~observed]])


def positions(order: Order, shape: tuple[int, ...]) -> Int[np.ndarray, "places values"]:
    """Where the values of each place lie in a flattened event (L,) or (H, W, ...), in order of generation."""
    height, width = (1, *shape) if len(shape) == 1 else shape[:2]
    values = math.prod(shape[2:])
    return order.places(height, width)[:, None] * values + np.arange(values)


def _require_variant(order: SCurve | Hilbert) -> None:
    if not 0 <= order.variant < SYMMETRIES:
        raise InputError(
            f"variants of {type(order).__name__} are 0 to {SYMMETRIES - 1}, not {order.variant}"
        )


def _mirrored(height: int, width: int, variant: int) -> Int[np.ndarray, "rows columns"]:
    """All places of an image, mirrored: 1 left and right, 2 top and bottom, 4 rows and columns."""
    grid = np.arange(height * width).reshape(height, width)
    grid = grid[::-1] if variant & 2 else grid
    grid = grid[:, ::-1] if variant & 1 else grid
    return grid.T if variant & 4 else grid


Step = tuple[int, int]  # rows and columns


def _hilbert(start: Step, along: Step, across: Step) -> Iterator[Step]:
    """A curve through a rectangle, from the corner `start` to the corner that lies `along` its long side.

    A long rectangle is cut into two such curves. Any other takes three: across, along, and back across.
    """
    length, breadth = (abs(sum(side)) for side in (along, across))
    if breadth == 1 or length == 1:
        way, steps = (along, length) if breadth == 1 else (across, breadth)
        yield from (_moved(start, _unit(way), i) for i in range(steps))
        return
    half, middle = _halved(along, length), _halved(across, breadth)
    if 2 * length > 3 * breadth:
        yield from _hilbert(start, half, across)
        yield from _hilbert(_moved(start, half), _minus(along, half), across)
        return
    yield from _hilbert(start, middle, half)
    yield from _hilbert(_moved(start, middle), along, _minus(across, middle))
    corner = _moved(_moved(start, _minus(along, _unit(along))), _minus(middle, _unit(middle)))
    yield from _hilbert(corner, _minus((0, 0), middle), _minus(half, along))


def _halved(side: Step, length: int) -> Step:
    """Half of a side; even where the side is longer than 2, since curves through even sides need no corner."""
    half = length // 2
    return _moved((0, 0), _unit(side), half + (half % 2 if length > 2 else 0))


def _unit(side: Step) -> Step:
    return (int(np.sign(side[0])), int(np.sign(side[1])))


def _moved(place: Step, by: Step, times: int = 1) -> Step:
    return (place[0] + times * by[0], place[1] + times * by[1])


def _minus(one: Step, other: Step) -> Step:
    return _moved(one, other, -1)
