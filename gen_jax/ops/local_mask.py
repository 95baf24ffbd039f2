"""Locally masked convolution: y[p] = sum_t m[p, t] x[p + o_t] K[t], a 3x3 window whose open taps differ by place.

The mask m opens what an order of generation has visited before a place (Jain, Abbeel and Pathak 2020, 2006.12486,
section 3.1). The forward pass is nine masked products. Autodiff would keep the nine masked copies of x and scatter nine
gradients; here the backward pass makes the copies again and takes two products, of the masked patches of x and of those
of the gradient.
"""

import functools
import itertools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.ops.convolution import dense, gathered
from gen_jax.ops.orders import Order
from gen_jax.target import platform

TAPS = 9
PLACES = 1024  # of the images whose patches a CPU makes at a time
AnyArray = Array | np.ndarray
Reach = Literal["first", "near", "far"]  # own place closed; open; open, and every second place
DILATION: dict[Reach, int] = {"first": 1, "near": 1, "far": 2}


class Reads(NamedTuple):
    """The open taps of a site, and the places that they read.

    Sites with fewer than the most have taps that read the place after the last, which holds zeros.
    """

    taps: Integer[AnyArray, "*orders sites M"]
    places: Integer[AnyArray, "*orders sites M"]


class Masks(NamedTuple):
    """The open taps of a convolution at every place, by its reach; for a batch or for each example."""

    first: Bool[AnyArray, "*B H W taps"]
    near: Bool[AnyArray, "*B H W taps"]
    far: Bool[AnyArray, "*B H W taps"]


class Visit(NamedTuple):
    """A site: its place, the place of the site before, and what a convolution reads, by its reach."""

    place: Integer[AnyArray, "*sites"]
    before: Integer[AnyArray, "*sites"]
    first: Reads
    near: Reads
    far: Reads


class Tables(NamedTuple):
    """For each of K orders its places, the masks and the visits of all sites."""

    places: Int[np.ndarray, "K sites"]
    masks: Masks
    visits: Visit


def read_places(height: int, width: int, dilation: int) -> Int[np.ndarray, "places taps"]:
    """The place that each tap reads, window by window in raster order; the number of places where that is outside."""
    rows, columns = np.indices((height, width)).reshape(2, -1, 1)
    ways = np.array(list(itertools.product((-dilation, 0, dilation), repeat=2))).T
    rows, columns = rows + ways[0], columns + ways[1]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return np.where(inside, rows * width + columns, height * width)


def open_taps(
    rank: Int[np.ndarray, "*orders places"], read: Int[np.ndarray, "places taps"], own: bool
) -> Bool[np.ndarray, "*orders places taps"]:
    """m[p, t]: the tap reads an earlier place, rank(q) < rank(p), or, with `own`, the place itself."""
    outside = np.full((*rank.shape[:-1], 1), rank.shape[-1])  # comes after all places
    there = np.concatenate([rank, outside], axis=-1)[..., read]
    return there <= rank[..., None] if own else there < rank[..., None]


def reads_of(
    places: Int[np.ndarray, "*orders sites"],
    read: Int[np.ndarray, "places taps"],
    mask: Bool[np.ndarray, "*orders places taps"],
) -> Reads:
    """The open taps by site, in order of generation: as many of each as the most that a site has."""
    opened, sources = np.take_along_axis(mask, places[..., None], axis=-2), read[places]
    most = max(1, int(opened.sum(axis=-1).max()))
    taps = np.argsort(~opened, axis=-1, kind="stable")[..., :most]
    opened, sources = (np.take_along_axis(part, taps, axis=-1) for part in (opened, sources))
    return Reads(taps, np.where(opened, sources, len(read)))


@functools.cache
def tables(orders: tuple[Order, ...], height: int, width: int) -> Tables:
    """What convolutions read under these orders; InputError on an order that does not suit the image."""
    places = np.stack([order.places(height, width) for order in orders])
    rank = np.argsort(places, axis=1)
    read = {reach: read_places(height, width, dilation) for reach, dilation in DILATION.items()}
    taps = {reach: open_taps(rank, read[reach], own=reach != "first") for reach in read}
    masks = {reach: mask.reshape(-1, height, width, TAPS) for reach, mask in taps.items()}
    before = np.pad(places[:, :-1], ((0, 0), (1, 0)), constant_values=height * width)
    reads = {reach: reads_of(places, read[reach], taps[reach]) for reach in read}
    return Tables(places, Masks(**masks), Visit(places, before, **reads))


def pick(tables: Any, *index: Any) -> Any:
    """The entry of every array at this index: of an order, or of an order and a site."""
    return jax.tree.map(lambda table: jnp.asarray(table)[index], tables)


@functools.cache
def dependence(
    order: Order, height: int, width: int, layers: tuple[Reach, ...]
) -> Bool[np.ndarray, "places places"]:
    """[p, q]: after these convolutions in turn place p depends on the values that entered at place q."""
    masks, seen = tables((order,), height, width).masks, np.eye(height * width, dtype=bool)
    for reach in layers:
        read = read_places(height, width, DILATION[reach])
        mask = getattr(masks, reach)[0].reshape(-1, TAPS)
        inputs = np.pad(seen, ((0, 1), (0, 0)))
        seen = np.zeros_like(seen)
        for tap in range(TAPS):
            seen |= inputs[read[:, tap]] & mask[:, tap, None]
    return seen


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def local_conv(
    x: Float[Array, "B H W I"],
    kernel: Float[Array, "taps I O"],
    mask: Bool[Array, "*B H W taps"],
    dilation: int,
) -> Float[Array, "B H W O"]:
    """All places at once, under one mask or one for each example."""
    products = (dense(_opened(x, mask, tap, dilation), kernel[tap]) for tap in range(TAPS))
    return sum(products, start=jnp.zeros((), x.dtype))


def _forward(x, kernel, mask, dilation):
    return local_conv(x, kernel, mask, dilation), (x, kernel, mask)


def _backward(dilation, residuals, dy):
    x, kernel, mask = residuals
    images = _together(*x.shape[:3])
    if images == len(x):
        return *_gradients(x, kernel, mask, dy, dilation), None
    few = [part.reshape(-1, images, *part.shape[1:]) for part in (x, dy)]
    if mask.ndim == x.ndim:  # one for each example
        few.append(mask.reshape(-1, images, *mask.shape[1:]))

    def add(total, part):
        dx, d_kernel = _gradients(part[0], kernel, (*part, mask)[2], part[1], dilation)
        return total + d_kernel, dx

    d_kernel, dx = lax.scan(add, jnp.zeros_like(kernel), tuple(few))
    return dx.reshape(x.shape), d_kernel, None


def _together(batch, height, width):
    """Images whose patches are made at a time: few on a CPU, whose cache they fill, and a number that divides all."""
    if platform() != "cpu" or jax.device_count() > 1:
        return batch
    most = max(1, PLACES // (height * width))
    return max(images for images in range(1, min(most, batch) + 1) if batch % images == 0)


def _gradients(x, kernel, mask, dy, dilation):
    inputs, outputs = kernel.shape[1:]
    patches = [_opened(x, mask, tap, dilation) for tap in range(TAPS)]
    patches = jnp.concatenate(patches, axis=-1).reshape(-1, TAPS * inputs)
    d_kernel = gathered(patches.T @ dy.reshape(-1, outputs)).reshape(kernel.shape)
    # what tap t reads at p from p + o_t goes back to there, moved by the opposite tap
    back = [
        _read(jnp.where(mask[..., tap, None], dy, 0), TAPS - 1 - tap, dilation)
        for tap in range(TAPS)
    ]
    across = jnp.swapaxes(kernel, 1, 2).reshape(-1, inputs)
    return dense(jnp.concatenate(back, axis=-1), across), d_kernel


local_conv.defvjp(_forward, _backward)


def local_conv_site(
    plane: Float[Array, "places_1 B I"],
    kernel: Float[Array, "taps I O"],
    taps: Integer[Array, " M"],
    places: Integer[Array, " M"],
) -> Float[Array, "B O"]:
    """One site, given what is known at each place and zeros after the last, by its open taps (`Reads`)."""
    window = jnp.swapaxes(plane[places], 0, 1)
    return window.reshape(plane.shape[1], -1) @ kernel[taps].reshape(-1, kernel.shape[-1])


def _opened(x, mask, tap, dilation):
    """What a tap reads at each place, zeros where it is closed."""
    return jnp.where(mask[..., tap, None], _read(x, tap, dilation), 0)


def _read(x, tap, dilation):
    """The image moved by the offset of a tap, zeros outside."""
    height, width = x.shape[1:3]
    row, column = (dilation * part for part in divmod(tap, 3))
    padded = jnp.pad(x, ((0, 0), (dilation, dilation), (dilation, dilation), (0, 0)))
    return padded[:, row : row + height, column : column + width]
