"""Sets of points: prepared and read back as float32, and distributed as they say."""

import json

import numpy as np
import pytest
from scipy import stats
from test_cli import succeed

from gen_jax import points
from gen_jax.data import prepared
from gen_jax.data.builders import BUILDERS, planar

NAMES = ("checkerboard", "circles", "eight_gaussians", "moons", "pinwheel", "two_spirals")


def test_prepared_and_read_back(tmp_path):
    succeed("data", "prepare", "circles", "--data-dir", tmp_path)
    for name, size in {"train": 10_000, "validation": 5_000, "test": 10_000}.items():
        split = prepared.load("circles", name, tmp_path)
        assert (split.event, split.num_classes, split.labels) == (points(), 0, None)
        assert (split.x.dtype, split.x.shape) == (np.float32, (size, 2))
        np.testing.assert_array_equal(split.x, BUILDERS["circles"].points(name))
    out = tmp_path / "x.npz"
    succeed("data", "export", "circles", "--limit", 3, "--data-dir", tmp_path, "--out", out)
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["images"], split.x[:3])
    listed = json.loads(succeed("data", "list", "--data-dir", tmp_path, "--json"))["datasets"]
    assert [row["name"] for row in listed if row["prepared"]] == ["circles"]
    assert {row["name"] for row in listed} > set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_fixed_and_differ(name):
    builder = BUILDERS[name]
    parts = [builder.points(split) for split in builder.SIZES]
    np.testing.assert_array_equal(parts[0], builder.points("train"))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not np.array_equal(parts[one][:100], parts[other][:100])


def moons_log_density(x, centres=512):
    """The mixture itself, its arcs by the midpoint rule."""
    angle, s = np.pi * (np.arange(centres) + 0.5) / centres, planar.Moons.NOISE
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mean = np.concatenate([upper, [1.0, 0.5] - upper])
    apart = ((x[:, None] - mean) ** 2).sum(axis=-1)
    return np.log(np.exp(-apart / (2 * s**2)).mean(axis=1) / (2 * np.pi * s**2))


def test_moons_follow_their_mixture():
    """Their mean log density is minus the entropy by quadrature, 1.0076 nats: the floor of every model of them."""
    axes = np.linspace(-1.8, 2.8, 185), np.linspace(-1.3, 1.8, 125)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = np.concatenate([moons_log_density(part) for part in np.array_split(grid, 40)])
    mass = np.exp(log_p) * 0.025**2
    np.testing.assert_allclose(mass.sum(), 1.0, atol=1e-6)
    entropy = -np.sum(mass * np.maximum(log_p, -1e3))
    np.testing.assert_allclose(entropy, 1.0076, atol=1e-4)
    for split in planar.Moons.SIZES:
        nats = -moons_log_density(planar.Moons.points(split)[:3000].astype(float))
        assert abs(nats.mean() - entropy) < 4 * nats.std() / np.sqrt(len(nats))


def uniform(u):
    return stats.kstest(u, "uniform").pvalue > 1e-4


def test_circles():
    x = planar.Circles.points("train").astype(float)
    radius = np.hypot(*x.T)
    assert abs(np.mean(radius > 0.75) - 0.5) < 0.02
    assert uniform(np.arctan2(*x.T) / (2 * np.pi) + 0.5)
    np.testing.assert_allclose(radius[radius > 0.75].std(), 0.08, rtol=0.05)


def test_checkerboard():
    """Uniform on each axis, and always on the same colour."""
    x = planar.Checkerboard.points("train").astype(float)
    assert np.all(np.floor(x).sum(axis=1) % 2 == 0)
    assert all(uniform(column / 4 + 0.5) for column in x.T)


def test_eight_gaussians():
    x = planar.EightGaussians.points("train").astype(float)
    angle = np.pi / 4 * np.arange(8)
    means = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    nearest = ((x[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    assert stats.chisquare(np.bincount(nearest, minlength=8)).pvalue > 1e-4
    np.testing.assert_allclose((x - means[nearest]).std(), 0.2, rtol=0.02)


def test_two_spirals():
    """A turn by the radius puts either spiral on one ray; as many points on each."""
    x = planar.TwoSpirals.points("train").astype(float)
    radius = np.hypot(*x.T)
    turned = np.angle((x @ [1, 1j]) * np.exp(-1j * np.pi * radius))[radius > 1]
    side = np.abs(turned) > np.pi / 2
    assert abs(side.mean() - 0.5) < 0.02
    off = np.where(side, np.abs(turned) - np.pi, turned) * 1.0
    assert np.quantile(np.abs(off), 0.99) < np.pi / 2


def test_pinwheel():
    """Turned back by its distance, a point lies at one of five angles."""
    x = planar.Pinwheel.points("train").astype(float)
    radius = np.hypot(*x.T)
    turned = np.angle((x @ [1, 1j]) * np.exp(-0.25j * np.exp(radius)))[radius > 0.5]
    apart = turned / (2 * np.pi / 5)
    assert np.quantile(np.abs(apart - np.round(apart)), 0.98) < 0.2
    counts = np.bincount(np.round(apart).astype(int) % 5, minlength=5)
    assert stats.chisquare(counts).pvalue > 1e-4
