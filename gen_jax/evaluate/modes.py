"""How many of the eight Gaussians of the planar set `eight_gaussians` the samples of a model reach.

A point belongs to a mode if it lies within three standard deviations of the mode's mean; of the data 98.9 % do. A mode
is found if at least a quarter of its share belongs to it: n / 32 of n points.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gen_jax.data.builders.planar import EightGaussians

WITHIN = 3.0  # standard deviations
LEAST = 0.25  # of a mode's share


class Modes(NamedTuple):
    """The number of points that belong to each mode, and of all points."""

    counts: Int[np.ndarray, " modes"]
    points: int

    @property
    def found(self) -> int:
        """The number of modes that are found."""
        return int(np.sum(self.counts >= LEAST * self.points / len(self.counts)))

    @property
    def near(self) -> float:
        """The fraction of points that belong to a mode."""
        return float(self.counts.sum() / self.points)


def has_modes(dataset: str) -> bool:
    """Whether the data set is a mixture with known modes."""
    return dataset == EightGaussians.name


def modes_of(x: Float[np.ndarray, "N 2"]) -> Modes:
    """How many points belong to each mode; a point that is not finite belongs to none."""
    means = EightGaussians.means()
    square = ((x[:, None].astype(np.float64) - means) ** 2).sum(axis=-1)
    near = square <= (WITHIN * EightGaussians.NOISE) ** 2
    return Modes(near.sum(axis=0), len(x))
