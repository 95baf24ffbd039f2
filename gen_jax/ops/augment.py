"""Transformations of an image that only move its values: each kind is a permutation of the flattened event.

With a table of permutations p, the transformed event is y[i] = x[p[i]], and p[i] is where the value at i came from.
Kind 0 of every transformation is the identity. (As Jun et al. 2020, "Distribution Augmentation for Generative
Modeling", section 4.1.)
"""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from gen_jax.errors import InputError

Shape = tuple[int, ...]
Table = Int[np.ndarray, "kinds D"]


@dataclass(frozen=True)
class Transform:
    """A group of permutations of events; a subclass defines `moved`."""

    name: ClassVar[str]

    def table(self, shape: Shape) -> Table:
        """A permutation of the flattened event for each kind; InputError on shapes that the kinds do not keep."""
        refusal = self.refusal(shape)
        if refusal:
            raise InputError(f"{self.name} {refusal}, not of shape {shape}")
        places = np.arange(math.prod(shape)).reshape(shape)
        return np.stack([moved.reshape(-1) for moved in self.moved(places)])

    def moved(self, x: Int[np.ndarray, "*event"]) -> list[Int[np.ndarray, "*event"]]:
        """The event under each kind, the identity first."""
        raise TypeError(f"{type(self).__name__} does not define its kinds")

    def refusal(self, shape: Shape) -> str | None:
        """What it needs and this shape is not; None if the kinds keep the shape."""
        return None if len(shape) == 3 and shape[0] == shape[1] else "is of square images"


@dataclass(frozen=True)
class Rotation(Transform):
    """By 0, 1, 2 and 3 right angles."""

    name: ClassVar[str] = "rotation"

    def moved(self, x: Int[np.ndarray, "H W C"]) -> list[Int[np.ndarray, "H W C"]]:
        return [np.rot90(x, turns) for turns in range(4)]


@dataclass(frozen=True)
class Transposition(Transform):
    """Rows as they are, or as columns."""

    name: ClassVar[str] = "transposition"

    def moved(self, x: Int[np.ndarray, "H W C"]) -> list[Int[np.ndarray, "H W C"]]:
        return [x, np.swapaxes(x, 0, 1)]


@dataclass(frozen=True)
class ColourPermutation(Transform):
    """The channels in each order."""

    name: ClassVar[str] = "colour"

    def moved(self, x: Int[np.ndarray, "H W C"]) -> list[Int[np.ndarray, "H W C"]]:
        return [x[..., list(order)] for order in itertools.permutations(range(x.shape[-1]))]

    def refusal(self, shape: Shape) -> str | None:
        return None if len(shape) == 3 and 2 <= shape[2] <= 4 else "is of images of 2 to 4 channels"


@dataclass(frozen=True)
class Jigsaw(Transform):
    """The four quarters in each order."""

    name: ClassVar[str] = "jigsaw"

    def moved(self, x: Int[np.ndarray, "H W C"]) -> list[Int[np.ndarray, "H W C"]]:
        quarters = [piece for half in np.split(x, 2) for piece in np.split(half, 2, axis=1)]
        rows = [
            [np.concatenate([quarters[i], quarters[j]], axis=1) for i, j in (order[:2], order[2:])]
            for order in itertools.permutations(range(4))
        ]
        return [np.concatenate(halves) for halves in rows]

    def refusal(self, shape: Shape) -> str | None:
        even = len(shape) == 3 and shape[0] % 2 == shape[1] % 2 == 0
        return None if even else "is of images of even sides"


@dataclass(frozen=True)
class Reversal(Transform):
    """Values from the first to the last, or from the last to the first."""

    name: ClassVar[str] = "reversal"

    def moved(self, x: Int[np.ndarray, "*event"]) -> list[Int[np.ndarray, "*event"]]:
        return [x, np.flip(x)]

    def refusal(self, shape: Shape) -> str | None:
        del shape
