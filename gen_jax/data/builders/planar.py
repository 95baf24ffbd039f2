"""Points in the plane, drawn from known distributions with a fixed seed; nothing to download."""

import math
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from gen_jax.data.builders.common import Builder, info, numbered


class Planar(Builder, skip_registration=True):
    """Continuous data: float32 points (2,), 10,000 / 5,000 / 10,000 of them; a subclass defines `draw`."""

    TAKES_SOURCE = False
    SIZES: ClassVar = {"train": 10_000, "validation": 5_000, "test": 10_000}
    CITATION = ""

    @staticmethod
    def draw(rng: np.random.Generator, n: int) -> Float[np.ndarray, "n 2"]:
        """n points (n, 2), float64."""
        raise TypeError("a set of points must define draw")

    def _info(self):
        says = (self.__doc__ or "").splitlines()[0]
        return info(self, says, (2,), levels=None, citation=self.CITATION)

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {
            split: self._generate_examples(numbered(self.points(split))) for split in self.SIZES
        }

    @classmethod
    def points(cls, split: str) -> Float[np.ndarray, "n 2"]:
        """All points of a split, float32; the seed is the split's position."""
        place = list(cls.SIZES).index(split)
        return cls.draw(np.random.default_rng(place), cls.SIZES[split]).astype(np.float32)


class Moons(Planar, skip_registration=True):
    """Two interleaved half circles of radius 1 around (0, 0) and (1, 0.5), with Gaussian noise of deviation 0.1."""

    name = "moons"
    NOISE = 0.1

    @staticmethod
    def draw(rng: np.random.Generator, n: int) -> Float[np.ndarray, "n 2"]:
        """The upper half of the first circle or the lower half of the second."""
        angle, lower = rng.uniform(0, math.pi, n), rng.integers(0, 2, n)
        sign = 1 - 2 * lower
        arc = np.stack([sign * np.cos(angle) + lower, sign * np.sin(angle) + 0.5 * lower], axis=1)
        return arc + Moons.NOISE * rng.normal(size=(n, 2))


class Circles(Planar, skip_registration=True):
    """Two circles around the origin with radius 1 and 0.5, with Gaussian noise of deviation 0.08."""

    name = "circles"

    @staticmethod
    def draw(rng: np.random.Generator, n: int) -> Float[np.ndarray, "n 2"]:
        """A random circle and angle, then noise."""
        angle, radius = rng.uniform(0, 2 * math.pi, n), 1 - 0.5 * rng.integers(0, 2, n)
        return radius[:, None] * _direction(angle) + 0.08 * rng.normal(size=(n, 2))


class TwoSpirals(Planar, skip_registration=True):
    """Two spirals of one and a half turns, half a turn apart, with Gaussian noise of deviation 0.1."""

    name = "two_spirals"

    @staticmethod
    def draw(rng: np.random.Generator, n: int) -> Float[np.ndarray, "n 2"]:
        """Radius = angle / pi, uniform along the spiral except near its inner end."""
        angle = 3 * math.pi * np.sqrt(rng.uniform(0, 1, n))
        side = 1 - 2 * rng.integers(0, 2, n)
        spiral = (side * angle / math.pi)[:, None] * _direction(angle)
        return spiral + 0.1 * rng.normal(size=(n, 2))


class Pinwheel(Planar, skip_registration=True):
    """Five arms: Gaussians of deviation 0.3 along and 0.05 across, sheared around the origin."""

    name = "pinwheel"
    CITATION = "Johnson et al. 2016, arXiv:1603.06277"

    @staticmethod
    def draw(rng: np.random.Generator, n: int) -> Float[np.ndarray, "n 2"]:
        """A point of an arm, rotated by the arm's angle plus 0.25 exp(distance along the arm)."""
        along, across = 1 + 0.3 * rng.normal(size=n), 0.05 * rng.normal(size=n)
        angle = rng.integers(0, 5, n) * (2 * math.pi / 5) + 0.25 * np.exp(along)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.stack([along * cos - across * sin, along * sin + across * cos], axis=1)


class Checkerboard(Planar, skip_registration=True):
    """Uniform on eight of the sixteen unit squares of [-2, 2]^2, the black ones of a checkerboard."""

    name = "checkerboard"

    @staticmethod
    def draw(rng: np.random.Generator, n: int) -> Float[np.ndarray, "n 2"]:
        """A random square, then a uniform point in it."""
        row, column = rng.integers(0, 4, n), 2 * rng.integers(0, 2, n)
        return np.stack([column + row % 2, row], axis=1) + rng.uniform(0, 1, (n, 2)) - 2


class EightGaussians(Planar, skip_registration=True):
    """Eight Gaussians of deviation 0.2 with their means on a circle of radius 2."""

    name = "eight_gaussians"
    NOISE = 0.2

    @staticmethod
    def draw(rng: np.random.Generator, n: int) -> Float[np.ndarray, "n 2"]:
        """A random mean, then a Gaussian around it."""
        mean = EightGaussians.means()[rng.integers(0, 8, n)]
        return mean + EightGaussians.NOISE * rng.normal(size=(n, 2))

    @staticmethod
    def means() -> Float[np.ndarray, "8 2"]:
        """The means of the Gaussians."""
        return 2 * _direction(np.arange(8) * (math.pi / 4))


def _direction(angle: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
