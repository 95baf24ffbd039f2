"""What the report draws of flows and diffusions, and the nearest training images: the numbers behind the pictures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import FAMILIES
from test_ddpm import Dense
from test_flows import PLANE
from untrained import run_of

from gen_jax import DDPM, DDPMSampler, image, points
from gen_jax.data.prepared import Split
from gen_jax.density import fold_in, root_key
from gen_jax.evaluate import nearest as nearest_module
from gen_jax.evaluate import noising
from gen_jax.evaluate.nearest import nearest
from gen_jax.media.images import Images
from gen_jax.models.flow.base import Flow
from gen_jax.ops import diffusion
from gen_jax.report import diffusion as pages
from gen_jax.report import points as plane
from gen_jax.report.images import nearest_in_training

KEY = fold_in(root_key(0), "way")


@pytest.fixture(scope="module")
def flow():
    return run_of(PLANE)


def test_the_heat_map_has_the_density_and_its_mass(flow):
    x = np.asarray(flow.model.sample(flow.variables, KEY, 2000))
    cells, edges = plane.heat(flow, x)
    area = np.prod([edge[1] - edge[0] for edge in edges])
    assert abs(cells.sum() * area - 1) < 0.02
    right, up = 200, 90
    middle = np.array(
        [[edge[k : k + 2].mean() for edge, k in zip(edges, (right, up), strict=True)]]
    )
    expected = np.exp(flow.model.log_prob(flow.variables, middle.astype(np.float32)))
    np.testing.assert_allclose(cells[right, up], expected[0], rtol=1e-4)
    [drawn] = plane.heat_map(cells, edges).axes[0].images
    assert drawn.get_array()[up, right] == cells[right, up]
    np.testing.assert_allclose(drawn.get_extent(), [*edges[0][[0, -1]], *edges[1][[0, -1]]])
    assert f"is {cells.sum() * area:.4f}." in plane.density(flow, x)


def test_the_way_of_points_ends_in_the_samples(flow, monkeypatch):
    """Every state is a layer's inverse of the one before; a panel has its points, in the colours of the noise."""
    monkeypatch.setattr(plane, "PANELS", 100)
    states, titles = plane.way(flow, 50)
    bound = PLANE.bind(flow.variables)
    assert len(states) == len(bound.layers) + 1 == 8
    assert titles[0] == "noise"
    assert titles[1] == "after 1 of 7"
    assert titles[-1] == "samples"
    for before, after, layer in zip(states, states[1:], reversed(bound.layers), strict=False):
        np.testing.assert_allclose(layer.inverse(jnp.asarray(before)), after, atol=1e-5)
    inverse = PLANE.apply(flow.variables, jnp.asarray(states[0]), method="inverse")
    np.testing.assert_allclose(states[-1], inverse, atol=1e-5)
    figure = plane.panels(states, titles, states[0])
    for axes, state, title in zip(figure.axes, states, titles, strict=False):
        [dots] = axes.collections
        np.testing.assert_array_equal(dots.get_offsets(), state)
        np.testing.assert_array_equal(dots.get_array(), states[0][:, 0])
        assert axes.get_title() == title
    monkeypatch.setattr(plane, "PANELS", 3)
    few, titles = plane.way(flow, 50)
    assert titles == ["noise", "after 4 of 7", "samples"]
    for found, expected in zip(few, (states[0], states[4], states[7]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_flow_without_a_rule_has_noise_and_samples(flow):
    z = jnp.ones((3, 2))
    first, last = PLANE.apply(flow.variables, z, method=functools.partial(Flow.way))
    np.testing.assert_array_equal(first, z)
    np.testing.assert_array_equal(last, PLANE.apply(flow.variables, z, method="inverse"))


@pytest.fixture(scope="module")
def cloud():
    """A diffusion of points, whose x_t are reals."""
    return run_of(DDPM(points(), Dense(), timesteps=5))


def test_an_example_becomes_noise_by_the_same_eps(cloud):
    x, chain = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), cloud.experiment.model.chain()
    times = (0, 1, 3, 5)
    states = noising.noised(cloud, x, times)
    np.testing.assert_array_equal(states[0], x)
    eps = [(states[k] - chain.signal[t] * x) / chain.noise[t] for k, t in enumerate(times) if t]
    for other in eps[:-1]:
        np.testing.assert_allclose(other, eps[-1], atol=1e-4)


def test_noise_becomes_samples_with_the_networks_guesses(cloud):
    model, times = cloud.experiment.model, (5, 2, 1, 0)
    way = noising.denoised(cloud, 4, times, KEY)
    for t, state, guess in list(zip(times, *way, strict=True))[:-1]:
        now = diffusion.at(model.chain(), jnp.full(4, t), 2)
        back = model.apply(cloud.variables, jnp.asarray(state), now, method="back")
        np.testing.assert_allclose(guess, back.data, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(way.states[-1], way.guesses[-1])
    samples = cloud.model.sample(cloud.variables, KEY, 4)
    np.testing.assert_allclose(way.states[-1], samples, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [5, 2])
def test_few_steps_are_those_of_the_sampler(cloud, steps):
    """DDIM without noise from the same x_T, which the model's own sampler numbers by its steps."""
    model = cloud.experiment.model.clone(sampler=DDPMSampler(steps, 0.0))
    found = noising.denoised(cloud, 3, (steps, 0), KEY, steps=steps, eta=0.0)
    np.testing.assert_array_equal(found.states[0], jax.random.normal(fold_in(KEY, 6), (3, 2)))
    if steps == 5:
        expected = model.apply(cloud.variables, KEY, 3, method="sample")
        np.testing.assert_allclose(found.states[-1], expected, rtol=1e-4, atol=1e-5)


def test_steps_without_noise_end_in_the_most_likely_level():
    """Of VDM, whose last step is a choice among levels: the next one to x_1 / signal."""
    run = run_of(FAMILIES["vdm"])
    assert set(noising.denoised(run, 8, (0,), KEY, eta=0.0).states.flat) == {0, 1, 2}
    bound = run.experiment.model.bind(run.variables)
    first, x = diffusion.at(bound.chain(), jnp.full(3, 1), 4), jnp.arange(3)[:, None, None, None]
    for off in (-0.3, 0.0, 0.3):
        drawn = bound.decode(first.signal * (bound.to_reals(x) + off), first, KEY, temperature=0.0)
        np.testing.assert_array_equal(drawn, x)


def test_images_on_their_way_are_images_of_the_model():
    """The last of the way are the samples themselves, integers; a strip has a row for each state of both parts."""
    run = run_of(FAMILIES["diffusion"])
    way = noising.denoised(run, 2, (4, 1, 0), KEY)
    assert way.states.dtype == np.int32
    np.testing.assert_array_equal(way.states[-1], run.model.sample(run.variables, KEY, 2))
    split = split_of(np.arange(12).reshape(3, 2, 2, 1) % 3)
    titles = [
        title for title, _ in pages.sections(Images(run.experiment.model.event, {}), run, split)
    ]
    assert titles == ["To noise and back", "Samples by number of steps"]


def split_of(x, name="test"):
    return Split(
        x=x.astype(np.uint8),
        event=image(2, 2, 1, 3),
        dataset="some",
        version="1",
        split=name,
        labels=None,
        num_classes=0,
    )


def test_the_nearest_by_all_pairs(monkeypatch):
    rng = np.random.default_rng(0)
    x, among = (rng.integers(0, 256, (n, 4, 3, 1)).astype(np.uint8) for n in (7, 50))
    among[33] = x[2]
    monkeypatch.setattr(nearest_module, "AT_ONCE", 9 * 12)  # nine images in a product
    place, apart = nearest(x, among)
    squares = ((x[:, None].astype(float) - among) ** 2).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(place, squares.argmin(axis=1))
    np.testing.assert_allclose(apart, np.sqrt(squares.min(axis=1)), atol=1e-6)
    assert (place[2], apart[2]) == (33, 0)


def test_a_copy_is_named():
    """Distances in the caption are those of the greys; the sample that is a training image is counted."""
    train, test = (np.full((2, 2, 2, 1), level) for level in (0, 2))
    train[1, 0, 0, 0] = 1
    samples = np.stack([train[1], np.full((2, 2, 1), 1)])
    medium = Images(image(2, 2, 1, 3), {})
    [(title, shown)] = nearest_in_training(
        medium, samples, split_of(train, "train"), split_of(test)
    )
    assert title == "Nearest training images"
    one = 128 * np.sqrt(3) / 2  # three of four pixels a level apart
    assert f"0.0, {one:.1f}; mean {one / 2:.1f}" in shown
    assert "1 of 2 samples is a copy." in shown
    assert "of 2 training images." in shown
