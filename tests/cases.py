"""Every model on events small enough to enumerate, with every leaf moved by seeded noise; a new model adds one line."""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import FVSBN, FullTable, GatedPixelCNN, Independent, Markov, binary, image
from gen_jax.density import Functional, functional

SMALL = {"depth": 2, "first_kernel": 3, "head_features": 12}


@dataclass(frozen=True)
class Case:
    model: Any
    wide: Any = None  # a larger event for laws that need no enumeration

    @property
    def larger(self) -> Any:
        return self.model if self.wide is None else self.wide


CASES = {
    "independent": Case(Independent(binary(4)), Independent(image(3, 3, 1, 3))),
    "markov": Case(Markov(binary(4)), Markov(image(3, 3, 1, 3))),
    "full_table": Case(FullTable(binary(4)), FullTable(image(2, 3, 1, 3))),
    "fvsbn": Case(FVSBN(binary(6)), FVSBN(image(4, 4, 1, 2))),
    "gated_pixel_cnn": Case(
        GatedPixelCNN(image(4, 4, 1, 2), features=6, **SMALL),
        GatedPixelCNN(image(6, 7, 1, 3), features=6, depth=2, first_kernel=5, head_features=4),
    ),
    "gated_pixel_cnn_deep": Case(
        GatedPixelCNN(image(2, 3, 1, 3), features=4, depth=4, head_features=4),
        GatedPixelCNN(
            image(7, 5, 1, 2), features=4, depth=3, first_kernel=3, kernel=5, head_features=4
        ),
    ),
    "gated_pixel_cnn_colour": Case(
        GatedPixelCNN(image(1, 2, 3, 3), features=6, **SMALL),
        GatedPixelCNN(image(3, 4, 3, 4), features=6, **SMALL),
    ),
    "gated_pixel_cnn_conditional": Case(
        GatedPixelCNN(image(2, 2, 1, 3), num_classes=3, features=4, **SMALL),
        GatedPixelCNN(image(3, 3, 3, 2), num_classes=3, features=6, **SMALL),
    ),
}


def build(model: Any, seed: int = 0, scale: float = 0.4) -> tuple[Functional, dict]:
    """Pure functions and variables in which no leaf is at its initial value; counts stay positive."""
    pure, key = functional(model), jax.random.key(seed)
    dtype = jnp.result_type(float)
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    variables = dict(jax.jit(pure.init)(key, x, cond=labels(model, 2)))
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
    moved = [
        leaf.astype(dtype) + scale * jax.random.normal(k, leaf.shape, dtype)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    variables = jax.tree.unflatten(tree, moved)
    if "counts" in variables:
        variables["counts"] = jax.tree.map(lambda count: 10 * jnp.abs(count), variables["counts"])
    return pure, variables


def labels(model: Any, n: int) -> jax.Array | None:
    return jnp.arange(n) % model.num_classes if model.num_classes else None


def random_events(model: Any, n: int, seed: int = 0) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (n, *model.event.shape), 0, model.event.levels)


def all_events(model: Any) -> np.ndarray:
    values = itertools.product(range(model.event.levels), repeat=model.event.size)
    return np.array(list(values), np.int32).reshape(-1, *model.event.shape)
