"""How an autoregressive model draws images: the distribution of each value, and the pixels on which it depends.

The images are those of the model's sampler. The distributions p(x_i | x_<i) are those that it drew from (laws/
autoregressive.py: all sites at once and step by step give the same). The influence of block j on pixel i is the total
variation distance, 1/2 sum |p - p'|, between the distributions of i before and after all values of j change to other
levels, the largest over the values of i. A zero is exact: the block has no influence. A block is a pixel, or a square
of pixels in images of more than 256: each block takes a pass of the network.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Int, Integer

from gen_jax.conditions import Cond, rows_of
from gen_jax.density import Autoregressive, Staged, fold_in, root_key
from gen_jax.evaluate import draw
from gen_jax.runs.run import Trained
from gen_jax.typing import Event, Variables

LARGEST, MOST_BLOCKS = 1024, 256  # pixels of an image, and blocks of it that are changed
AT_ONCE = 2**23  # probabilities in memory
BINS = 64  # bars of a distribution at most


@dataclass(frozen=True)
class Scene:
    """Images that one model drew, with what it needs to compute their distributions."""

    name: str
    model: Any
    variables: Variables
    x: Integer[np.ndarray, "N H W C"]
    cond: Cond


@dataclass(frozen=True)
class Film:
    """T values of each image in the order of generation.

    - `order`: positions in the flattened event.
    - `shares`: probabilities of bins of levels, bin k from `edges[k]` up to `edges[k + 1]` - 1.
    - `bits`: -log2 p of the values drawn.
    - `influence`: of the column's block on the row's pixel, for the first image; `side`: that of a block.
    - `declared`: the model's context.
    """

    event: Event
    x: Integer[np.ndarray, "N H W C"]
    order: Int[np.ndarray, " T"]
    edges: Int[np.ndarray, " ends"]
    shares: Float[np.ndarray, "N T bins"]
    bits: Float[np.ndarray, "N T"]
    influence: Float[np.ndarray, "pixels blocks"]
    side: int
    declared: Bool[np.ndarray, "pixels pixels"]


def is_image(event: Event) -> bool:
    """Whether the event is an image of integers."""
    return len(event.shape) == 3 and event.levels is not None


def scenes(run: Trained, x: Integer[np.ndarray, "N H W C"]) -> Iterator[Scene]:
    """Samples x of the run; of a model in stages, samples of each stage of images, given those of the stages before.

    A stage has no film if its values are no image, or are independent given the stages before.

    Samples of a class-conditional run have all classes in turn.
    """
    model, labels = run.experiment.model, draw.labels_for(run, len(x), None)
    if isinstance(model, Autoregressive):
        yield Scene("", model, run.variables, x, labels)
    elif isinstance(model, Staged):
        key, values = fold_in(root_key(0), "film"), []
        for k, stage in enumerate(model.stages(run.variables)):
            cond = stage.cond(labels, values)
            sample = jax.jit(
                functools.partial(stage.model.apply, method="sample"), static_argnums=2
            )
            drawn = sample(stage.variables, fold_in(key, k), len(x), cond)
            values.append(np.asarray(drawn))
            last = stage.model.num_sites - 1
            if is_image(stage.model.event) and stage.model.context(last).any():
                yield Scene(stage.name, stage.model, stage.variables, values[-1], cond)


def film(scene: Scene) -> Film:
    """The distributions and dependences of a scene."""
    model, x = scene.model, np.asarray(scene.x)
    H, W, C = model.event.shape
    levels, pixels = model.event.num_levels, H * W
    order = model.sites.reshape(-1)
    at_once = int(np.clip(AT_ONCE // (len(order) * levels), 1, 64))
    program = _conditionals(model, scene.variables)

    def conditionals(
        x: np.ndarray, values: np.ndarray, cond: Cond
    ) -> Float[np.ndarray, "B T levels"]:
        """p(x_i = . | x_<i) of each value, the earlier ones of its own site from `values`."""
        with jax.default_matmul_precision("highest"):
            p = np.asarray(program(x, values, cond), np.float64)
        return p.reshape(len(x), -1, levels)

    def spread_out(i: int) -> tuple[np.ndarray, Cond]:
        """Image i in every row of a batch, for equal bits in each row."""
        return np.repeat(x[i : i + 1], at_once, axis=0), rows_of(scene.cond, np.full(at_once, i))

    edges = np.linspace(0, levels, min(levels, BINS) + 1).astype(int)
    shares, bits = [], []
    for i in range(len(x)):
        rows, cond = spread_out(i)
        p = conditionals(rows, rows, cond)[0]
        shares.append(np.add.reduceat(p, edges[:-1], axis=-1))
        drawn = np.take_along_axis(p, x[i].reshape(-1)[order][:, None].astype(int), axis=-1)
        bits.append(-np.log2(np.maximum(drawn[:, 0], 1e-30)))

    same, cond = spread_out(0)
    before, rng = conditionals(same, same, cond), np.random.default_rng(0)
    side, blocks = blocks_of(H, W)
    num_blocks = int(blocks.max()) + 1
    influence, of_value = np.zeros((pixels, num_blocks)), order // C
    for first in range(0, num_blocks, at_once):
        changing = np.minimum(np.arange(first, first + at_once), num_blocks - 1)
        inside = blocks == changing[:, None, None]
        moved = same + inside[..., None] * rng.integers(1, levels, same.shape)
        moved = (moved % levels).astype(same.dtype)
        apart = 0.5 * np.abs(conditionals(moved, same, cond) - before).sum(axis=-1)
        for row, block in enumerate(changing):
            np.maximum.at(influence[:, block], of_value, apart[row])
    return Film(
        model.event,
        x,
        order,
        edges,
        np.stack(shares),
        np.stack(bits),
        influence,
        side,
        _declared(model, pixels),
    )


def blocks_of(height: int, width: int) -> tuple[int, Int[np.ndarray, "H W"]]:
    """The side of the smallest square blocks of which there are at most MOST_BLOCKS, and the block of each pixel."""
    side = 1
    while -(-height // side) * -(-width // side) > MOST_BLOCKS:
        side += 1
    rows, columns = np.indices((height, width)) // side
    return side, rows * -(-width // side) + columns


def _conditionals(model: Any, variables: Variables) -> Any:
    """The compiled conditionals (B sites V levels), one row after the other for the sake of memory."""

    def of_row(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        params, values = row
        each = [model.head.conditional(params, v, values) for v in range(values.shape[-1])]
        return jnp.stack(each, axis=1)

    @jax.jit
    def program(variables, x, values, cond):
        params = model.apply(variables, x, cond)
        return lax.map(of_row, (params, model.site_values(values)))

    return functools.partial(program, variables)


def _declared(model: Any, pixels: int) -> Bool[np.ndarray, "pixels pixels"]:
    """For each pixel the other pixels that `context` names for any of its sites."""
    channels, declared = model.event.shape[-1], np.zeros((pixels, pixels), bool)
    for site in range(model.num_sites):
        seen = np.unique(model.sites[model.context(site)] // channels)
        for pixel in np.unique(model.sites[site] // channels):
            declared[pixel, seen] = True
    np.fill_diagonal(declared, False)
    return declared
