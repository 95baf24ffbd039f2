"""Transformations of images: those that a model is told of, and those of training examples alone.

A `Transform` only moves values: each kind is a permutation of the flattened event. With a table of permutations p, the
transformed event is y[i] = x[p[i]], and p[i] is where the value at i came from. Kind 0 of every transformation is the
identity. (As Jun et al. 2020, "Distribution Augmentation for Generative Modeling", section 4.1.)

An `Augmentation` is drawn for each example of a training batch (`Experiment.augment`); evaluation never applies it.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from gen_jax.errors import InputError
from gen_jax.typing import PRNGKey

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


@dataclass(frozen=True)
class Augmentation:
    """A random change of each example, images of integers (H, W, C); a subclass defines `__call__` and `phrase`."""

    @property
    def phrase(self) -> str:
        """What training had, in the plural, as results name it."""
        raise TypeError(f"{type(self).__name__} does not define its phrase")

    def __call__(self, x: Integer[Array, "B H W C"], key: PRNGKey) -> Integer[Array, "B H W C"]:
        """The batch, each example under its own draw."""
        raise TypeError(f"{type(self).__name__} does not define its change")

    def check(self, shape: Shape) -> None:
        """InputError if the change is impossible for images of this shape."""


@dataclass(frozen=True)
class Flip(Augmentation):
    """Left and right exchanged, with probability 1/2."""

    @property
    def phrase(self) -> str:
        return "flips"

    def __call__(self, x: Integer[Array, "B H W C"], key: PRNGKey) -> Integer[Array, "B H W C"]:
        flipped = jax.random.bernoulli(key, shape=(len(x), 1, 1, 1))
        return jnp.where(flipped, jnp.flip(x, axis=2), x)


@dataclass(frozen=True)
class Translation(Augmentation):
    """Moved down and to the right by -`most` ... `most` pixels each, uniformly.

    What comes in repeats the pixels of the edge, or is level 0 (`padding`).
    """

    most: int
    padding: Literal["edge", "zero"] = "edge"

    @property
    def phrase(self) -> str:
        return f"translations of up to {self.most} pixel{'s' * (self.most > 1)} ({self.padding} padding)"

    def __call__(self, x: Integer[Array, "B H W C"], key: PRNGKey) -> Integer[Array, "B H W C"]:
        moves = jax.random.randint(key, (len(x), 2), -self.most, self.most + 1)
        sides = np.array(x.shape[1:3])

        def moved(
            image: Integer[Array, "H W C"], move: Integer[Array, "2"]
        ) -> Integer[Array, "H W C"]:
            rows, columns = (jnp.arange(side) - move[i] for i, side in enumerate(sides))
            known = [
                jnp.clip(place, 0, side - 1)
                for place, side in ((rows, sides[0]), (columns, sides[1]))
            ]
            result = image[known[0]][:, known[1]]
            if self.padding == "edge":
                return result
            inside = (rows == known[0])[:, None] & (columns == known[1])
            return jnp.where(inside[..., None], result, 0)

        return jax.vmap(moved)(x, moves)

    def check(self, shape: Shape) -> None:
        if not 1 <= self.most < min(shape[:2]):
            raise InputError(
                f"a translation moves by 1 to {min(shape[:2]) - 1} pixels in {shape[0]}x{shape[1]}, not by {self.most}"
            )


def augmented(
    x: Integer[Array, "B H W C"], key: PRNGKey, augmentations: Sequence[Augmentation]
) -> Integer[Array, "B H W C"]:
    """The batch after all augmentations in order; each has its own key, folded from its number."""
    for i, augmentation in enumerate(augmentations):
        x = augmentation(x, jax.random.fold_in(key, i))
    return x


def phrase(augmentations: Sequence[Augmentation]) -> str | None:
    """ "flips and translations of up to 3 pixels (edge padding)"; None without augmentation."""
    return " and ".join(augmentation.phrase for augmentation in augmentations) or None
