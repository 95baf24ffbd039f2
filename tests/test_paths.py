"""Paths between latents: closed forms of the great circle, and what a model shows along them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import random_events
from scipy import stats
from test_vd_vae import TINY
from untrained import run_of

from gen_jax import (
    GAN,
    IWAE,
    VAE,
    VQVAE,
    Autoencoder,
    DiscreteVAE,
    ImageRealNVP,
    InputError,
    Markov,
    PixelVAE,
    RealNVP,
    image,
)
from gen_jax.density import root_key
from gen_jax.evaluate import codes, draw, latents
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.ops import gaussian, paths

RNG = np.random.default_rng(0)
DENSE = {"encoder": DenseEncoder((6,)), "decoder": DenseDecoder((6,))}
EVENT = image(3, 3, 1, 4)
FLOW = ImageRealNVP(image(2, 2, 1, 3), features=3, blocks=1, scales=1, alpha=0.1)
MODELS = {
    "vae": VAE(EVENT, latent=3, **DENSE),
    "iwae": IWAE(EVENT, latent=2, draws=2, **DENSE),
    "pixel_vae": PixelVAE(
        EVENT, latent=2, encoder=DenseEncoder((4,)), depth=1, features=4, first_kernel=3,
        head_features=4,
    ),
    "vd_vae": TINY,
    "autoencoder": Autoencoder(EVENT, latent=3, **DENSE),
}  # fmt: skip
run_of = functools.cache(run_of)


def pair(*shape, seed=0):
    """Two arrays of noise in the present precision."""
    noise = np.random.default_rng(seed).normal(size=(2, *shape))
    return jnp.asarray(noise[0], float), jnp.asarray(noise[1], float)


def cosine(a, b):
    return np.sum(a * b, axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 1.0])
def test_the_great_circle(t):
    """The norm is linear in t and the angle from a is t w, in the plane of a and b."""
    a, b = pair(5, 4)
    z = np.asarray(paths.spherical(a, b, t))
    norm_a, norm_b, norm = (np.linalg.norm(v, axis=-1) for v in (a, b, z))
    np.testing.assert_allclose(norm, (1 - t) * norm_a + t * norm_b, rtol=1e-12)
    angle = np.arccos(cosine(a, b))
    np.testing.assert_allclose(cosine(a, z), np.cos(t * angle), rtol=1e-10)
    np.testing.assert_allclose(cosine(b, z), np.cos((1 - t) * angle), rtol=1e-10)
    for triple in zip(a, b, z, strict=True):
        assert np.linalg.matrix_rank(np.stack(triple), tol=1e-9) == 2
    same = a / norm_a[:, None] * norm_b[:, None]  # equal norms: White 2016
    expected = (np.sin((1 - t) * angle)[:, None] * same + np.sin(t * angle)[:, None] * b) / np.sin(
        angle
    )[:, None]
    np.testing.assert_allclose(paths.spherical(same, b, t), expected, rtol=1e-10)


def test_the_ends_are_exact():
    """Bit for bit in float32, at any lengths, compiled or not; also for directions that have no circle."""
    scale = 10.0 ** RNG.integers(-3, 3, (2, 400, 1))
    a, b = pair(400, 7)
    a, b = a * scale[0], b * scale[1]
    b = b.at[:3].set(jnp.stack([a[0], -a[1], 0 * a[2]]))
    for path in (paths.spherical, paths.linear):
        for f in (path, jax.jit(path)):
            np.testing.assert_array_equal(f(a, b, 0.0), a)
            np.testing.assert_array_equal(f(a, b, 1.0), b)
            assert np.all(np.isfinite(f(a, b, 0.3)))


@pytest.mark.usefixtures("x64")
def test_without_a_circle_the_path_is_the_line():
    a, _ = pair(2, 4)
    for b in (2 * a, -3 * a, 0 * a):
        np.testing.assert_allclose(paths.spherical(a, b, 0.3), paths.linear(a, b, 0.3), atol=1e-12)
        np.testing.assert_allclose(paths.linear(a, b, 0.3), 0.7 * a + 0.3 * b, atol=1e-12)


def test_the_norm_of_noise_stays_typical():
    """Half way between two draws of 1,000 numbers: sqrt(1000) on the circle, sqrt(500) on the line."""
    a, b = pair(50, 1000)
    for path, expected in ((paths.spherical, 1000), (paths.linear, 500)):
        squares = jnp.sum(path(a, b, 0.5) ** 2, axis=-1)
        assert abs(float(squares.mean()) / expected - 1) < 0.05


@pytest.mark.usefixtures("x64")
def test_the_quantiles_of_a_traversal():
    expected = stats.norm.ppf((np.arange(11) + 0.5) / 11)
    np.testing.assert_allclose(gaussian.quantiles(11), expected, atol=1e-12)
    np.testing.assert_allclose(gaussian.quantiles(1), [0.0], atol=1e-12)


SLOW = pytest.param("vd_vae", marks=pytest.mark.slow)  # 10 seconds to compile


@pytest.mark.parametrize("name", [*[name for name in MODELS if name != "vd_vae"], SLOW])
def test_the_ends_of_a_path_are_the_reconstructions(name):
    """Integer by integer, with the same noise of p(x | z)."""
    run = run_of(MODELS[name])
    x, y = (np.asarray(random_events(MODELS[name], 5, seed)) for seed in (1, 2))
    drawn = latents.interpolate(run, x, y, 5, seed=3)
    assert drawn.shape == (5, 5, *MODELS[name].event.shape)
    np.testing.assert_array_equal(drawn[:, 0], draw.reconstruct(run, x, seed=3))
    np.testing.assert_array_equal(drawn[:, -1], draw.reconstruct(run, y, seed=3))
    if name in ("vae", "iwae", "autoencoder"):  # in the others so few values hardly depend on z
        assert np.any(drawn[:, 2] != drawn[:, 0])
        assert np.any(drawn[:, 2] != drawn[:, -1])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["vae", "vd_vae"])
def test_latents_are_the_noise_of_the_prior(name):
    """Drawn with this noise, each group has the mode of q."""
    model, run = MODELS[name], run_of(MODELS[name])
    x = random_events(model, 4)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), run.variables)
    noise = model.apply(variables, x, method="latents_of")

    def modes(module):
        choose = lambda k, group, p, q: (group.draw(p, noise[k])[0], group.mode(q))  # noqa: E731
        return latents.visit(
            module, module.begin(len(x), x), lambda *a: (choose(*a)[0], choose(*a))
        )

    _, pairs = model.apply(variables, method=modes)
    for z, mode in pairs:
        np.testing.assert_allclose(z, mode, atol=1e-10)


def test_a_flow_interpolates_between_the_events_themselves():
    """Its latents are exact: the ends are x and y, of each under its class."""
    model = FLOW.clone(num_classes=3)
    x, y = (np.asarray(random_events(model, 5, seed)) for seed in (1, 2))
    label, other = np.arange(5) % 3, (np.arange(5) + 1) % 3
    drawn = latents.interpolate(run_of(model), x, y, 4, cond=label, cond_y=other)
    np.testing.assert_array_equal(drawn[:, 0], x)
    np.testing.assert_array_equal(drawn[:, -1], y)
    wrong = latents.interpolate(run_of(model), x, y, 2, cond=label, cond_y=label)
    np.testing.assert_array_equal(wrong[:, -1], y)  # to and back under any one class
    assert np.any(latents.interpolate(run_of(model), x, y, 4, cond=label, cond_y=label) != drawn)


def test_classes_go_along():
    """An end has the class of its event; latents, traversal, plane and KL are those under the class."""
    model = VAE(EVENT, latent=2, num_classes=3, **DENSE)
    run = run_of(model)
    x, y = (np.asarray(random_events(model, 6, seed)) for seed in (1, 2))
    label, other = np.arange(6) % 3, (np.arange(6) + 1) % 3
    drawn = latents.interpolate(run, x, y, 4, cond=label, cond_y=other)
    np.testing.assert_array_equal(drawn[:, 0], draw.reconstruct(run, x, cond=label))
    np.testing.assert_array_equal(drawn[:, -1], draw.reconstruct(run, y, cond=other))
    assert np.any(draw.reconstruct(run, y, cond=label) != drawn[:, -1])
    means = latents.latents_of(run, x, label)
    assert np.all(np.any(means != latents.latents_of(run, x, other), axis=-1))
    moved = latents.traverse(run, x[:1], [1], means[:1, 1], cond=label[:1])
    np.testing.assert_array_equal(moved[0, 0, 0], drawn[0, 0])
    values = np.array([-1.0, 1.0])
    assert np.any(
        latents.plane(run, values, cond=label[:1]) != latents.plane(run, values, cond=other[:1])
    )
    under, apart = (latents.information(run, x, cond=cond).units for cond in (label, other))
    assert np.all(under != apart)


def test_points_too_have_paths():
    run = run_of(RealNVP(depth=2, hidden=(8,)))
    x, y = RNG.normal(size=(2, 5, 2)).astype(np.float32)
    drawn = latents.interpolate(run, x, y, 3)
    np.testing.assert_allclose(drawn[:, 0], x, atol=1e-5)
    np.testing.assert_allclose(drawn[:, -1], y, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        Markov(EVENT),
        GAN(image(4, 4, 1, 3), 2),
        VQVAE(image(4, 4, 1, 3), strided=(4,), blocks=1, residual=2, codes=4, size=2),
        DiscreteVAE(EVENT, latent=3, **DENSE),
    ],
)
def test_others_have_no_path(model):
    assert not latents.has_paths(model)
    assert latents.vector_units(model) == 0


def test_a_model_without_latents_is_refused():
    run, x = run_of(Markov(EVENT)), np.zeros((1, 3, 3, 1), int)
    with pytest.raises(InputError, match="markov gives no continuous latents of an event"):
        latents.interpolate(run, x, x, 2)
    with pytest.raises(InputError, match="markov does not encode events"):
        draw.reconstruct(run, x)


def test_a_traversal_at_the_mean_is_the_reconstruction():
    """And at any other value it is the event at latents of which this one number is changed."""
    model, run = MODELS["vae"], run_of(MODELS["vae"])
    x = np.asarray(random_events(model, 3))
    means = latents.latents_of(run, x)
    again = draw.reconstruct(run, x)
    for unit in range(3):
        drawn = latents.traverse(run, x[:1], [unit, 1], np.array([means[0, unit], 2.5]))
        assert drawn.shape == (1, 2, 2, *model.event.shape)
        np.testing.assert_array_equal(drawn[0, 0, 0], again[0])
    values = np.array([-1.5, 0.0, 2.0])
    drawn = latents.traverse(run, x, [2, 0], values)
    key = draw.reconstruction_key(0)
    at = jax.jit(lambda z: model.apply(run.variables, [z], key, method="event_at"))
    for i, unit in enumerate([2, 0]):
        for j, value in enumerate(values):
            moved = np.pad(means.copy(), ((0, 5), (0, 0)), mode="edge")  # rows of 8 devices
            moved[:, unit] = value
            np.testing.assert_array_equal(drawn[:, i, j], np.asarray(at(moved))[:3])


def test_the_plane_has_its_first_unit_to_the_right():
    run = run_of(MODELS["iwae"])
    assert latents.vector_units(run.experiment.model) == 2
    values = np.array([-2.0, 0.1, 1.7])
    drawn, key = latents.plane(run, values), draw.reconstruction_key(0)
    for i, second in enumerate(values):
        for j, first in enumerate(values):
            place = [jnp.array([[first, second]])]
            expected = run.experiment.model.apply(run.variables, place, key, method="event_at")
            np.testing.assert_array_equal(drawn[i, j], expected[0])


@pytest.mark.parametrize("name", ["vae", SLOW])
def test_information_is_that_of_the_diagnosis(name):
    """The units add up to the KL of the group; active units as logged at validation."""
    model, run = MODELS[name], run_of(MODELS[name])
    x = np.asarray(random_events(model, 70))
    found = latents.information(run, x)
    measure = jax.jit(functools.partial(model.apply, method="measure"))
    measured = jax.device_get(measure(run.variables, x, root_key(0)))
    scalars, _ = model.diagnosis(measured)
    if name == "vae":
        np.testing.assert_allclose(found.units.sum(), scalars["kl"], rtol=1e-5)
        np.testing.assert_allclose(found.kl, [scalars["kl"]], rtol=1e-5)
        assert found.active.sum() == scalars["active_units"]
        return
    assert len(found.kl) == len(model.groups) > 1
    assert len(found.units) == 0
    np.testing.assert_allclose(found.kl[0], scalars["kl_1"], rtol=1e-5)
    np.testing.assert_allclose(found.kl.sum(), scalars["kl"], rtol=0.2)  # other draws of z


def test_a_unit_of_which_the_data_say_nothing_is_not_active():
    model, run = MODELS["vae"], run_of(MODELS["vae"])
    params = jax.tree.map(np.asarray, run.variables["params"])
    kernel = params["posterior"]["kernel"].copy()
    kernel[:, 1] = 0.0  # the mean of unit 1
    params["posterior"] = {**params["posterior"], "kernel": kernel}
    object.__setattr__(run, "variables", {"params": params})
    found = latents.information(run, np.asarray(random_events(model, 40)))
    assert found.active.tolist() == [True, False, True]
    run_of.cache_clear()


def test_codes_are_counted():
    assert codes.counts(np.array([[0, 2], [2, 2]]), 4).tolist() == [1, 0, 3, 0]
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert codes.perplexity(np.array([1, 0, 3, 0])) == pytest.approx(np.exp(entropy))
    model = VQVAE(image(4, 4, 1, 3), strided=(4,), blocks=1, residual=2, codes=4, size=2, groups=2)
    run, x = run_of(model), np.asarray(random_events(model, 70))
    [(name, found)] = codes.codes_of(run, x).items()
    assert (name, found.shape, model.codebooks[name].levels) == ("codes", (70, 2, 2, 2), 4)
    expected, _ = model.apply(run.variables, jnp.asarray(x), method="parts")
    np.testing.assert_array_equal(found, expected)
