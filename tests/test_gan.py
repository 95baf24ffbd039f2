"""GAN: each player's gradient from one scalar loss, the value of the game at the optimal D, separate batch norms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import build, random_events
from scipy import stats
from scipy.spatial.distance import jensenshannon

from gen_jax import GAN, InputError, functional, image, points
from gen_jax.density import fold_in
from gen_jax.models.adversarial import gan
from gen_jax.models.adversarial.gan import (
    EPSILON,
    BatchNorm,
    ConvDiscriminator,
    ConvGenerator,
    DenseDiscriminator,
    DenseGenerator,
    value_function,
)
from gen_jax.ops.scaling import from_symmetric, to_symmetric
from gen_jax.optimizer import Adam, OptimizerGroups

KEY = jax.random.key(5)
NETWORKS = {"generator": ConvGenerator((5, 4)), "discriminator": ConvDiscriminator((4, 5))}
IMAGES = GAN(image(4, 4, 1, 3), latent=3, **NETWORKS)
DENSE = {"generator": DenseGenerator((6,)), "discriminator": DenseDiscriminator((6,))}
POINTS = GAN(points(), latent=3, saturating=True, **DENSE)
LAYERS = {**NETWORKS, "discriminator": ConvDiscriminator((4, 5), "layer")}
CRITIC = GAN(image(4, 4, 1, 3), latent=3, **LAYERS, gradient_penalty=3.0)


def gradients(model, variables, x):
    """The gradients of the single loss, for both groups of parameters."""

    def loss(params):
        return functional(model).loss({**variables, "params": params}, x, KEY)[0]

    return jax.jit(jax.grad(loss))(variables["params"])


def gradients_apart(model, variables, x):
    """The gradient of each player's loss in that player's parameters, written out."""
    params, (generator, discriminator) = variables["params"], (model.generator, model.discriminator)
    others = {"batch_stats": variables.get("batch_stats", {}).get("generator", {})}
    z = jax.random.normal(fold_in(KEY, "z"), (len(x), model.latent))
    levels = model.event.levels
    real = x if levels is None else 2 * x / (levels - 1) - 1

    def fake(own):
        of = {"params": own, **others}
        x, _ = generator.apply(of, z, model.event.shape, train=True, mutable=["batch_stats"])
        return x if levels is None else jnp.tanh(x)

    def of_generator(own):
        logit = discriminator.apply({"params": params["discriminator"]}, fake(own))
        if model.gradient_penalty:
            return -jnp.mean(logit)
        return jnp.mean(-jax.nn.softplus(logit) if model.saturating else jax.nn.softplus(-logit))

    def of_discriminator(own):
        false = fake(params["generator"])
        on_real, on_fake = (discriminator.apply({"params": own}, x) for x in (real, false))
        if model.gradient_penalty:
            share = jax.random.uniform(fold_in(KEY, "between"), (len(x), 1, 1, 1))
            single = lambda x: discriminator.apply({"params": own}, x[None])[0]  # noqa: E731
            slopes = jax.vmap(jax.grad(single))(false + share * (real - false))
            norms = jnp.linalg.norm(slopes.reshape(len(x), -1), axis=1)
            return jnp.mean(on_fake - on_real) + 3.0 * jnp.mean((norms - 1) ** 2)
        return jnp.mean(jax.nn.softplus(-on_real)) + jnp.mean(jax.nn.softplus(on_fake))

    return {
        "generator": jax.jit(jax.grad(of_generator))(params["generator"]),
        "discriminator": jax.jit(jax.grad(of_discriminator))(params["discriminator"]),
    }


def furthest(found, expected):
    """Largest difference of each group, relative to its largest gradient."""

    def largest(tree):
        return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

    return {
        name: largest(jax.tree.map(jnp.subtract, found[name], expected[name]))
        / largest(expected[name])
        for name in expected
    }


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("model", [IMAGES, POINTS, CRITIC], ids=["images", "points", "critic"])
def test_each_player_has_its_own_gradient(model, monkeypatch):
    """Leaving out either stop-gradient shows in the other player's gradient, and only there."""
    _, variables = build(model)
    x = random_events(model, 8) if model.event.levels else jax.random.normal(KEY, (8, 2))
    expected = gradients_apart(model, variables, x)
    assert max(furthest(gradients(model, variables, x), expected).values()) < 1e-9
    stop = gan.stop_gradient
    for group, leaks in {"generator": jax.Array, "discriminator": dict}.items():
        monkeypatch.setattr(
            gan, "stop_gradient", lambda x, leaks=leaks: x if isinstance(x, leaks) else stop(x)
        )
        found = furthest(gradients(model, variables, x), expected)
        assert found.pop(group) > 0.01
        assert max(found.values()) < 1e-9


def test_batches_are_normalised_apart_and_samples_by_running_statistics():
    """D's output on data does not depend on the generator; a sample depends on other rows in training only."""
    pure, variables = build(IMAGES, scale=0.3)
    x, loss = random_events(IMAGES, 8), jax.jit(pure.loss)
    _, (metrics, updated) = loss(variables, x, KEY)
    params = variables["params"]
    other = jax.tree.map(lambda leaf: 2 * leaf, params["generator"])
    _, (moved, _) = loss({**variables, "params": {**params, "generator": other}}, x, KEY)
    assert moved["d_real"] == metrics["d_real"]
    assert abs(moved["d_fake"] - metrics["d_fake"]) > 1e-3
    assert set(updated["batch_stats"]) == {"generator"}

    generator = {"params": params["generator"], "batch_stats": updated["batch_stats"]["generator"]}
    z = jax.random.normal(KEY, (6, 3))
    for train in (False, True):
        all_rows, first = (
            IMAGES.generator.apply(generator, rows, (4, 4, 1), train, mutable=["batch_stats"])[0]
            for rows in (z, z[:3])
        )
        apart = np.abs(all_rows[:3] - first).max()
        assert apart > 1e-3 if train else apart < 1e-6


@pytest.mark.parametrize("shape", [(16, 3), (4, 2, 5, 3)])
def test_batch_norm_is_that_of_the_library(shape):
    """Values in training and after it, and the running statistics in between."""
    x = 3 * jax.random.normal(KEY, shape) + 2
    ours, theirs = BatchNorm(decay=0.8), nn.BatchNorm(momentum=0.8, epsilon=EPSILON)
    variables = {
        "params": {"scale": jnp.array([1.0, 2.0, -1.0]), "bias": jnp.array([0.0, 1.0, 2.0])},
        "batch_stats": {"mean": jnp.array([0.0, 1.0, 2.0]), "var": jnp.array([1.0, 2.0, 3.0])},
    }
    for train in (True, False):
        found = ours.apply(variables, x, train, mutable=["batch_stats"])
        expected = theirs.apply(variables, x, not train, mutable=["batch_stats"])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), found, expected)
    alone = BatchNorm(decay=None).apply({"params": variables["params"]}, x, train=True)
    np.testing.assert_allclose(alone, ours.apply(variables, x, True, mutable="batch_stats")[0])


def test_samples_are_events():
    """Integers within the levels, reals as they are; at temperature 0 all are G(0)."""
    for model, kind in ((IMAGES, jnp.integer), (POINTS, jnp.floating)):
        pure, variables = build(model)
        sample = jax.jit(pure.sample, static_argnums=2)
        x = np.asarray(sample(variables, KEY, 9))
        assert x.shape == (9, *model.event.shape)
        assert jnp.issubdtype(x.dtype, kind)
        assert model.event.refusal(x) is None
        assert len(np.unique(x.reshape(9, -1), axis=0)) > 1
        still = np.asarray(sample(variables, KEY, 9, None, 0.0))
        np.testing.assert_allclose(still, still[:1].repeat(9, axis=0), rtol=1e-5)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_scaling_there_and_back(levels):
    x = jnp.arange(levels)
    np.testing.assert_array_equal(from_symmetric(to_symmetric(x, levels), levels), x)
    np.testing.assert_array_equal(from_symmetric(jnp.array([-2.0, 2.0]), levels), [0, levels - 1])


def test_the_value_at_the_best_discriminator(x64):
    """V(D*) = 2 JSD(p, q) - log 4 by quadrature; D trained on the model's loss stays below it and comes close.

    The generator is linear and stays as it is: its q = N(b, W^T W) is known, and so is D* = p / (p + q).
    """
    W, b = np.array([[1.0, 0.5], [0.0, 0.7]]), np.array([0.5, 0.0])
    ends = np.array([[-1.5, 0.0], [1.5, 0.0]])
    side = np.linspace(-8, 8, 81)
    x, cell = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2), (side[1] - side[0]) ** 2
    log_p = np.logaddexp(*(stats.multivariate_normal(end).logpdf(x) for end in ends)) - np.log(2)
    log_q = stats.multivariate_normal(b, W.T @ W).logpdf(x)
    p, q, ratio = map(jnp.asarray, (np.exp(log_p) * cell, np.exp(log_q) * cell, log_p - log_q))
    np.testing.assert_allclose([p.sum(), q.sum()], 1, atol=1e-9)
    at = jax.jit(value_function)
    best, divergence = at(ratio, ratio, p, q), jensenshannon(p, q) ** 2
    assert divergence == pytest.approx(0.17808, abs=1e-5)
    np.testing.assert_allclose(best, 2 * divergence - np.log(4), rtol=1e-10)
    for wrong in (0.9, 1.1):
        assert at(wrong * ratio, wrong * ratio, p, q) < best

    model = GAN(points(), 2, DenseGenerator(()), DenseDiscriminator((32,)))
    pure = functional(model)
    params = jax.jit(pure.init)(KEY, jnp.zeros((2, 2)))["params"]
    linear = {"Dense_0": jax.tree.map(jnp.asarray, {"kernel": W, "bias": b})}
    params = {**params, "generator": linear}
    players = OptimizerGroups(("generator", "discriminator"), (Adam(0.0), Adam(1e-2))).build()

    @jax.jit
    def on_grid(params):
        logits = model.discriminator.apply({"params": params["discriminator"]}, jnp.asarray(x))
        return value_function(logits, logits, p, q)

    def step(t, carry):
        params, state = carry
        key = fold_in(KEY, t)
        centre = jax.random.choice(fold_in(key, "end"), jnp.asarray(ends), (256,))
        data = centre + jax.random.normal(fold_in(key, "data"), (256, 2))
        grads = jax.grad(lambda p: pure.loss({"params": p}, data, key)[0])(params)
        updates, state = players.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    fit = jax.jit(lambda params: jax.lax.fori_loop(0, 400, step, (params, players.init(params)))[0])
    trained = fit(params)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, trained["generator"], params["generator"]))
    assert on_grid(params) < on_grid(trained) < best
    assert best - on_grid(trained) < 0.02


def test_the_critic_finds_the_wasserstein_distance(x64):
    """N(0, I) and N(c, I) are W = |c| apart; the best critic is linear, of slope 1 + W / (2 penalty)."""
    c = jnp.array([1.2, -0.9])
    dense = (DenseGenerator(()), DenseDiscriminator((16,)))
    model = GAN(points(), 2, *dense, gradient_penalty=10.0)
    pure = functional(model)
    params = jax.jit(pure.init)(KEY, jnp.zeros((2, 2)))["params"]
    params = {**params, "generator": {"Dense_0": {"kernel": jnp.eye(2), "bias": c}}}
    players = OptimizerGroups(("generator", "discriminator"), (Adam(0.0), Adam(1e-2))).build()

    def step(t, carry):
        params, state = carry
        data = jax.random.normal(fold_in(fold_in(KEY, t), "data"), (256, 2))
        grads = jax.grad(lambda p: pure.loss({"params": p}, data, fold_in(KEY, t))[0])(params)
        updates, state = players.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    fit = jax.jit(lambda params: jax.lax.fori_loop(0, 300, step, (params, players.init(params)))[0])
    data = jax.random.normal(KEY, (4096, 2))
    variables = {"params": fit(params)}
    _, (metrics, _) = jax.jit(pure.loss)(variables, data, KEY)
    slope = 1 + 1.5 / 20
    assert metrics["slope"] == pytest.approx(slope, abs=0.03)
    assert metrics["wasserstein"] == pytest.approx(1.5 * slope, rel=0.03)
    measured = model.apply(variables, data, KEY, method="measure")
    scalars, _ = model.diagnosis(jax.device_get(measured))
    assert scalars["wasserstein"] == pytest.approx(1.5 * slope, rel=0.05)
    assert "d_real" not in scalars


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (GAN(points(), **NETWORKS), "images whose sides 4 divides"),
        (GAN(image(6, 8), **NETWORKS), "images whose sides 4 divides"),
        (GAN(image(8, 8), generator=ConvGenerator(())), "at least one layer"),
        (GAN(points(), latent=0), "latent must be at least 1"),
        (GAN(points(), gradient_penalty=0.0), "must be above 0"),
        (GAN(points(), gradient_penalty=1.0, saturating=True), "for the game of log D"),
        (GAN(image(4, 4), **NETWORKS, gradient_penalty=1.0), 'normalisation to "layer"'),
    ],
)
def test_impossible_sizes_are_refused(model, sentence):
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, KEY, x)


def test_there_is_no_likelihood():
    pure, variables = build(POINTS)
    with pytest.raises(InputError, match="a gan has no likelihood"):
        pure.log_prob(variables, jnp.zeros((2, 2)))
