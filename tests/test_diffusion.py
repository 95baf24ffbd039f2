"""Schedules, marginals, posteriors and steps back against the chain multiplied out; the network of the steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import DDPM, InputError, functional, image
from gen_jax.density import num_parameters
from gen_jax.models.diffusion import ddpm
from gen_jax.nn.unet import UNet
from gen_jax.ops import attention, diffusion, gaussian
from gen_jax.ops.sinusoidal import sinusoidal

pytestmark = pytest.mark.usefixtures("x64")
BETAS = np.array([0.1, 0.3, 0.05, 0.5, 0.2])
CHAIN = diffusion.chain(ddpm.alpha_bar(BETAS))


def entries(t, chain=CHAIN):
    return diffusion.at(chain, jnp.full(1, t), 2)


def test_schedules():
    linear = ddpm.LinearSchedule().betas(1000)
    assert (linear[0], linear[-1]) == (1e-4, 0.02)
    np.testing.assert_allclose(np.diff(linear), 0.0199 / 999)
    signal = lambda t: math.cos((t / 50 + 0.008) / 1.008 * math.pi / 2) ** 2  # noqa: E731
    cosine = ddpm.CosineSchedule().betas(50)
    np.testing.assert_allclose(cosine[:-1], [1 - signal(t) / signal(t - 1) for t in range(1, 50)])
    assert cosine[-1] == 0.999
    kept = ddpm.alpha_bar(cosine)
    assert kept[0] == 1
    np.testing.assert_allclose(kept[1:-1], [signal(t) / signal(0) for t in range(1, 50)])


@pytest.mark.parametrize(
    "made", [lambda: ddpm.LinearSchedule(0.0), lambda: ddpm.CosineSchedule(-1.0)]
)
def test_impossible_schedules_are_refused(made):
    with pytest.raises(InputError, match="schedule needs"):
        made()


def test_the_chain_multiplied_out():
    """x_0..x_T as linear maps of independent noises: marginals, and posteriors by conditioning their covariance."""
    steps = len(BETAS)
    rows = np.zeros((steps + 1, steps + 1))  # row t: x_t in terms of x_0 and the noise of each step
    rows[0, 0] = 1
    for t, beta in enumerate(BETAS, 1):
        rows[t] = math.sqrt(1 - beta) * rows[t - 1]
        rows[t, t] += math.sqrt(beta)
    np.testing.assert_allclose(CHAIN.signal, rows[:, 0])
    np.testing.assert_allclose(CHAIN.noise, np.linalg.norm(rows[:, 1:], axis=1), atol=1e-15)
    prior = rows @ rows.T  # x_0 of variance 1: what it is does not matter to a posterior given it
    for t in range(1, steps + 1):
        given = [0, t] if t > 1 else [0]
        weights = np.linalg.solve(prior[np.ix_(given, given)], prior[given, t - 1])
        variance = prior[t - 1, t - 1] - weights @ prior[given, t - 1]
        np.testing.assert_allclose(
            [CHAIN.from_data[t], CHAIN.from_noisy[t]], [*weights, 0.0][:2], atol=1e-12
        )
        if t > 1:
            np.testing.assert_allclose(np.exp(2 * CHAIN.posterior[t]), variance)
            np.testing.assert_allclose(np.exp(2 * CHAIN.large[t]), BETAS[t - 1])
        else:
            np.testing.assert_allclose(variance, 0, atol=1e-12)
    assert CHAIN.posterior[1] == CHAIN.large[1] == CHAIN.posterior[2]
    np.testing.assert_allclose(np.exp(2 * CHAIN.forward[1:]), BETAS)


def test_a_choice_of_times_is_a_chain():
    """From x_3 to x_1 by the chain of times 0, 1, 3: the product of two steps, then the same posterior rule."""
    some = diffusion.chain(ddpm.alpha_bar(BETAS)[[0, 1, 3]])
    joint = (1 - BETAS[1]) * (1 - BETAS[2])
    np.testing.assert_allclose(np.exp(2 * some.forward[2]), 1 - joint)
    variance = 1 / (joint / (1 - joint) + 1 / BETAS[0])
    np.testing.assert_allclose(np.exp(2 * some.posterior[2]), variance)
    alone = diffusion.chain(ddpm.alpha_bar(BETAS)[[0, 5]])
    assert np.all(np.isfinite(np.concatenate(alone)))


@pytest.mark.parametrize("predicted", ["noise", "data", "velocity"])
def test_what_is_predicted_gives_back_the_data(predicted):
    x_0, noise = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1, 6)))
    for t in (1, 3, 5):
        now = entries(t)
        x_t = diffusion.diffused(now, x_0, noise)
        said = diffusion.target(predicted, now, x_0, noise)
        np.testing.assert_allclose(diffusion.data_of(predicted, now, said, x_t), x_0, atol=1e-12)
        np.testing.assert_allclose(diffusion.noise_of(now, x_0, x_t), noise, atol=1e-12)


def test_ddim_steps():
    """eta = 1 is the posterior, mean and variance; any eta keeps the marginals; eta = 0 keeps the noise itself."""
    x_0, noise = jnp.asarray(np.random.default_rng(1).normal(size=(2, 1, 4)))
    for t in range(1, 6):
        now, before = entries(t), entries(t - 1)
        x_t = diffusion.diffused(now, x_0, noise)
        mean, scale = diffusion.ddim_step(now, before, x_0, x_t, 1.0)
        np.testing.assert_allclose(mean, diffusion.posterior_mean(now, x_0, x_t), atol=1e-12)
        np.testing.assert_allclose(scale, np.exp(now.posterior) if t > 1 else 0.0)
        mean, scale = diffusion.ddim_step(now, before, x_0, x_t, 0.0)
        np.testing.assert_allclose(mean, diffusion.diffused(before, x_0, noise), atol=1e-12)
        assert scale == 0
        mean, scale = diffusion.ddim_step(now, before, 0 * x_0, noise, 0.6)  # slope of x_t
        slope = mean / noise
        np.testing.assert_allclose((slope * now.noise) ** 2 + scale**2, before.noise**2 + 0 * slope)


def test_kl_and_mass_of_gaussians():
    """KL against quadrature, masses against scipy; they sum to 1 and are differentiable far from the mean."""
    rng = np.random.default_rng(0)
    mean, other = rng.normal(size=(2, 20))
    log_scale, other_log_scale = rng.normal(scale=0.4, size=(2, 20))
    z = np.linspace(-14, 14, 4001)[:, None]
    x = mean + np.exp(log_scale) * z
    log_q = stats.norm.logpdf(x, mean, np.exp(log_scale))
    log_p = stats.norm.logpdf(x, other, np.exp(other_log_scale))
    step = np.exp(log_scale) * (z[1, 0] - z[0, 0])
    expected = np.sum(np.exp(log_q) * (log_q - log_p), axis=0) * step
    found = gaussian.kl(*map(jnp.asarray, (mean, log_scale, other, other_log_scale)))
    np.testing.assert_allclose(found, expected)

    every, levels = jnp.arange(7), 7
    for mean, scale in ((0.1, 0.3), (-0.9, 0.02), (1.3, 2.0), (0.4, 0.007)):
        found = gaussian.log_mass(every, jnp.asarray(mean), jnp.log(scale), levels)
        edges = np.concatenate([[-np.inf], (2 * np.arange(6) + 1) / 6 - 1, [np.inf]])
        lower, upper = (edges[:-1] - mean) / scale, (edges[1:] - mean) / scale
        right = lower + upper > 0
        low, high = np.where(right, -upper, lower), np.where(right, -lower, upper)
        near, far = stats.norm.logcdf(high), stats.norm.logcdf(low)
        np.testing.assert_allclose(found, near + np.log1p(-np.exp(far - near)), rtol=1e-9)
        assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-12)
    with jax.enable_x64(False):
        slope = jax.grad(lambda m: jnp.sum(gaussian.log_mass(every, m, jnp.log(0.007), levels)))
        assert np.isfinite(slope(jnp.float32(0.5)))


def test_sinusoids():
    """Half sines, half cosines, the slowest 10,000 times slower than the fastest."""
    for size in (8, 9):
        found = sinusoidal(jnp.array([0, 1, 700]), size)
        rates = [10_000 ** (-i / 3) for i in range(4)]
        for row, t in zip(found, (0, 1, 700), strict=True):
            expected = [math.sin(t * r) for r in rates] + [math.cos(t * r) for r in rates]
            np.testing.assert_allclose(row, expected + [0.0] * (size % 2), atol=1e-9)


def test_full_attention():
    query, key, value = np.random.default_rng(0).normal(size=(3, 2, 5, 4))
    scores = np.exp(np.einsum("bik,bjk->bij", query, key) / 2)
    expected = np.einsum("bij,bjv->biv", scores / scores.sum(axis=-1, keepdims=True), value)
    found = attention.full_attention(*map(jnp.asarray, (query, key, value)))
    np.testing.assert_allclose(found, expected)


def test_parameter_count_of_the_published_network():
    """35.7 M in the paper; another implementation of its CIFAR-10 network has 35,746,307."""
    shapes = jax.eval_shape(
        functional(DDPM(image(32, 32, 3))).init,
        jax.random.key(0),
        jnp.zeros((1, 32, 32, 3), jnp.int32),
    )
    assert num_parameters(DDPM(image(32, 32, 3)), shapes) == 35_746_307


def test_the_network():
    """The output is zero before training. With random weights it depends at every site on t and on one site's value."""
    net = UNet(features=4, multipliers=(1, 2), blocks=1, attention=(2,), groups=2)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 1))
    t = jnp.array([3, 3])
    initial = jax.jit(net.init, static_argnums=3)(jax.random.key(0), x, t, 2)
    assert not np.any(jax.jit(net.apply, static_argnums=3)(initial, x, t, 2))
    rng = np.random.default_rng(0)
    moved = jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.3 * rng.normal(size=leaf.shape)), initial
    )

    @jax.jit
    def said(x, t):
        return net.apply(moved, x, t, 2)

    before = said(x, t)
    assert before.shape == (2, 4, 4, 2)
    after = said(x, jnp.array([3, 4]))
    np.testing.assert_array_equal(after[0], before[0])
    assert np.all(after[1] != before[1])
    after = said(x.at[1, 0, 0].add(0.5), t)
    np.testing.assert_array_equal(after[0], before[0])
    assert np.all(after[1] != before[1])


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (DDPM(image(6, 6)), "a U-net of 4 resolutions needs images whose sides 8 divides"),
        (DDPM(image(8, 8), network=UNet(features=48)), "groups 32 must divide .* 48"),
        (DDPM(image(8, 8), timesteps=1), "timesteps must be at least 2"),
        (DDPM(image(8, 8), variance="learned"), "'simple' does not go with variance 'learned'"),
        (DDPM(image(8, 8), objective="hybrid"), "'hybrid' does not go with variance 'beta'"),
    ],
)
def test_impossible_sizes_are_refused(model, sentence):
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(
            functional(model).init, jax.random.key(0), jnp.zeros((1, *model.event.shape), jnp.int32)
        )
