"""The true densities of the planar sets (`gen_jax/data/builders/planar.py`), in nats: the limit of every model.

Curves with Gaussian noise are integrated over the position on the curve. A point of the pinwheel has a few preimages
on each arm, found between neighbours of a grid.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

Points = Float[np.ndarray, "N 2"]
Logs = Float[np.ndarray, " N"]
CURVE, ARM, AT_ONCE = 2000, 4000, 500  # positions on a curve, on an arm; points at a time


def log_density(name: str, x: Points) -> Logs:
    """log p of each point under the distribution of this set."""
    x = np.asarray(x, np.float64)
    parts = [x[i : i + AT_ONCE] for i in range(0, len(x), AT_ONCE)]
    return np.concatenate([DENSITIES[name](part) for part in parts])


def around(centres: Points, deviation: float, x: Points) -> Logs:
    """Equally likely centres with Gaussian noise."""
    square = np.sum((x[:, None] - centres) ** 2, axis=-1)
    scale = math.log(2 * math.pi * deviation**2) + math.log(len(centres))
    return logsumexp(-0.5 * square / deviation**2, axis=1) - scale


def direction(angle: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Points of the unit circle."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def moons(x: Points) -> Logs:
    """Two half circles with noise of deviation 0.1."""
    angle = math.pi * middles(CURVE)
    upper = direction(angle)
    return around(np.concatenate([upper, [1, 0.5] - upper]), 0.1, x)


def circles(x: Points) -> Logs:
    """Circles of radius 1 and 0.5 with noise of deviation 0.08."""
    circle = direction(2 * math.pi * middles(CURVE))
    return around(np.concatenate([circle, 0.5 * circle]), 0.08, x)


def two_spirals(x: Points) -> Logs:
    """Two spirals with noise of deviation 0.1; the angle is the root of a uniform number."""
    angle = 3 * math.pi * np.sqrt(middles(CURVE))
    spiral = (angle / math.pi)[:, None] * direction(angle)
    return around(np.concatenate([spiral, -spiral]), 0.1, x)


def pinwheel(x: Points) -> Logs:
    """A Gaussian (a, c), rotated by an angle g(a) = g_k + exp(a) / 4; the map has the determinant 1 - g'(a) c."""
    radius = np.linalg.norm(x, axis=1)
    a = radius[:, None] * np.linspace(-1, 1, ARM)
    total = np.zeros(len(x))
    for arm in range(5):
        along, _ = rotated(x, arm, a)
        apart = along - a
        rows, cells = np.nonzero(np.sign(apart[:, 1:]) != np.sign(apart[:, :-1]))
        before, after = apart[rows, cells], apart[rows, cells + 1]
        share = before / (before - after)
        root = a[rows, cells] + share * (a[rows, cells + 1] - a[rows, cells])
        _, across = rotated(x[rows], arm, root[:, None])
        across = across[:, 0]
        log_p = -0.5 * ((root - 1) / 0.3) ** 2 - 0.5 * (across / 0.05) ** 2
        log_p -= math.log(2 * math.pi * 0.3 * 0.05)
        slope = np.abs(1 - 0.25 * np.exp(root) * across)
        np.add.at(total, rows, np.exp(log_p) / slope / 5)
    with np.errstate(divide="ignore"):
        return np.log(total)


def rotated(
    x: Points, arm: int, a: Float[np.ndarray, "N n"]
) -> tuple[Float[np.ndarray, "N n"], Float[np.ndarray, "N n"]]:
    """x rotated back by the angle of this arm at the distance a along it: along and across."""
    angle = arm * (2 * math.pi / 5) + 0.25 * np.exp(a)
    cos, sin = np.cos(angle), np.sin(angle)
    return x[:, :1] * cos + x[:, 1:] * sin, x[:, 1:] * cos - x[:, :1] * sin


def checkerboard(x: Points) -> Logs:
    """1/8 on the black squares."""
    column, row = np.floor(x + 2).astype(int).T
    inside = np.all(np.abs(x) <= 2, axis=1) & ((column + row) % 2 == 0)
    return np.where(inside, -math.log(8), -np.inf)


def eight_gaussians(x: Points) -> Logs:
    """Gaussians of deviation 0.2 on a circle of radius 2."""
    return around(2 * direction(2 * math.pi * np.arange(8) / 8), 0.2, x)


def middles(count: int) -> Float[np.ndarray, " count"]:
    """Middles of equal parts of [0, 1]."""
    return (np.arange(count) + 0.5) / count


DENSITIES: dict[str, Callable[[Points], Logs]] = {
    "moons": moons,
    "circles": circles,
    "two_spirals": two_spirals,
    "pinwheel": pinwheel,
    "checkerboard": checkerboard,
    "eight_gaussians": eight_gaussians,
}
