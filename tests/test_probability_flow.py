"""The ODE of a diffusion on Gaussian data, whose score and solution are known: orders of samplers, log p, integers."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import random_events
from scipy import stats

from gen_jax import DDPM, DDPMSampler, InputError, functional, image, points
from gen_jax.density import fold_in
from gen_jax.models.diffusion.ddpm import CosineSchedule, LinearSchedule
from gen_jax.models.diffusion.probability_flow import ProbabilityFlow
from gen_jax.nn.time_dense import TimeDense
from gen_jax.ops import diffusion
from gen_jax.ops.ode import Solver

KEY = jax.random.key(3)
MEAN, VARIANCE, STEPS = 0.7, 0.3, 1000
BETAS = LinearSchedule().betas(STEPS)
SHARE = np.concatenate([[1.0], np.cumprod(1 - BETAS)])
GAMMA = np.log1p(-SHARE[1:]) - np.log(SHARE[1:])


class Exact(nn.Module):
    """E[noise | x_t] for independent Gaussians of this mean and variance, at any t: -log SNR is linear between two."""

    mean: float = MEAN
    variance: float = VARIANCE

    @nn.compact
    def __call__(self, x, t, outputs, train=False):
        g = jnp.interp(jnp.asarray(t, x.dtype), jnp.arange(1.0, STEPS + 1), jnp.asarray(GAMMA))
        signal, noise = (jnp.sqrt(jax.nn.sigmoid(sign * g)) for sign in (-1, 1))
        signal, noise = (c.reshape(-1, *(1,) * (x.ndim - 1)) for c in (signal, noise))
        total = signal**2 * self.variance + noise**2
        mean = noise * (x - signal * self.mean) / total
        return jnp.concatenate([mean, x], axis=-1) if outputs > x.shape[-1] else mean


def flowed(x, start, end):
    """The solution of the ODE from time `start` to `end`: z-scores stay."""
    spread = lambda t: np.sqrt(SHARE[t] * VARIANCE + 1 - SHARE[t])  # noqa: E731
    middle = lambda t: np.sqrt(SHARE[t]) * MEAN  # noqa: E731
    return middle(end) + spread(end) / spread(start) * (x - middle(start))


def error(steps, order):
    """The largest distance of some samples from the solution at t = 0."""
    model = DDPM(points(1), Exact(), sampler=DDPMSampler(steps, 0.0, order=order))
    drawn = jax.jit(functional(model).sample, static_argnums=2)({}, KEY, 16)
    start = jax.random.normal(fold_in(KEY, steps + 1), (16, 1))
    return float(np.abs(drawn - flowed(np.asarray(start), STEPS, 0)).max())


def test_the_order_of_each_sampler(x64, monkeypatch):
    """Twice the steps: half the error of DDIM, a quarter of that of DPM-Solver++(2M); half its extrapolation shows."""
    first = [error(steps, 1) for steps in (20, 40)]
    second = [error(steps, 2) for steps in (20, 40)]
    assert first[0] / first[1] == pytest.approx(2, abs=0.3)
    assert second[0] / second[1] == pytest.approx(4, abs=0.8)
    assert second[1] < 0.1 * first[1]
    real = diffusion.extrapolation
    monkeypatch.setattr(diffusion, "extrapolation", lambda chain: 0.5 * real(chain))
    wrong = [error(steps, 2) for steps in (20, 40)]
    assert wrong[0] / wrong[1] < 2.8


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()])
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 99, 100])
def test_times_are_even_in_log_snr(schedule, steps):
    """They increase from 1 to T; with few steps -log SNR grows by equal parts, up to whole times."""
    share = DDPM(points(1), timesteps=100, schedule=schedule).alpha_bar
    times = diffusion.even_in_log_snr(share, steps)
    assert len(times) == steps + 1
    assert times[0] == 0
    assert times[-1] == 100
    assert np.all(np.diff(times) > 0)
    if steps > 1:
        assert times[1] == 1
    if steps == 7 and isinstance(schedule, LinearSchedule):
        g = np.log1p(-share[times[1:]]) - np.log(share[times[1:]])
        np.testing.assert_allclose(np.diff(g), np.diff(g).mean(), rtol=0.2)


def test_weights_of_the_extrapolation():
    """Estimates that are linear in log SNR are extrapolated to the middle of the next step."""
    chain = diffusion.chain(SHARE[[0, 1, 40, 300, 700, 1000]])
    half = np.append(np.nan, np.log(chain.signal[1:]) - np.log(chain.noise[1:]))
    weights = diffusion.extrapolation(chain)
    np.testing.assert_array_equal(weights[[0, 1, 5]], 0)
    for i in (2, 3, 4):
        middle = (half[i] + half[i - 1]) / 2
        np.testing.assert_allclose(half[i] + weights[i] * (half[i] - half[i + 1]), middle)
    assert diffusion.extrapolation(diffusion.chain(SHARE[[0, 1000]])).tolist() == [0, 0]


def test_a_sampler_with_noise_has_no_second_order():
    for eta in (None, 0.5):
        with pytest.raises(InputError, match=r"set sampler\.eta to 0"):
            DDPMSampler(10, eta, order=2)


def closed_form(y):
    """log p of what the ODE makes of N(0, 1) at T, divided by the signal at t = 1."""
    signal = math.sqrt(SHARE[1])
    ends = flowed(np.array([0.0, 1.0]), STEPS, 1) / signal
    return stats.norm(ends[0], ends[1] - ends[0]).logpdf(y).sum(axis=-1)


@pytest.mark.parametrize(("tolerance", "variance"), [(1e-3, "learned"), (1e-6, "beta")])
def test_log_p_of_gaussian_data(x64, tolerance, variance):
    """Within 100 tolerances of the closed form, and near the density of the data, as far as T allows."""
    objective = "hybrid" if variance == "learned" else "simple"
    inner = DDPM(points(2), Exact(), variance=variance, objective=objective)
    model = ProbabilityFlow(inner, Solver(tolerance=tolerance))
    y = np.array([[0.7, 0.2], [1.5, -0.4], [-1.0, 3.0]])
    found = jax.jit(functional(model).log_prob)({}, y)
    np.testing.assert_allclose(found, closed_form(y), rtol=0, atol=100 * tolerance)
    near = stats.norm(MEAN, math.sqrt(VARIANCE)).logpdf(y).sum(axis=-1)
    assert np.abs(closed_form(y) - near)[:2].max() < 0.02


def test_half_the_velocity_is_another_density(x64, monkeypatch):
    """A planted fault: the noise of the network half as strong."""
    model = ProbabilityFlow(DDPM(points(2), Exact()), Solver(tolerance=1e-3))
    half = lambda self, x, now, cond=None: 0.5 * self.back(x, now, cond=cond).output  # noqa: E731
    monkeypatch.setattr(DDPM, "noise_at", half)
    y = np.array([[0.7, 0.2], [1.5, -0.4]])
    found = jax.jit(functional(model).log_prob)({}, y, KEY)
    assert np.abs(found - closed_form(y)).min() > 0.1


def test_a_dense_network_of_time(x64):
    """At first it is 0, and the ODE shrinks x by the signal; with other weights it depends on x, t and y."""
    inner = DDPM(points(2), TimeDense(8, 2), num_classes=3)
    pure = functional(ProbabilityFlow(inner, Solver(tolerance=1e-5)))
    x, label = jnp.array([[0.3, -1.0], [2.0, 0.5]]), jnp.array([0, 2])
    key, given = jax.random.key(0), jax.nn.one_hot(label, 3)
    variables = inner.init(key, x, key, label, method="loss")
    nested = {"params": {"diffusion": variables["params"]}}
    found = jax.jit(pure.log_prob)(nested, x, cond=label)
    signal = math.sqrt(SHARE[-1])
    expected = stats.norm(0, 1).logpdf(signal * np.asarray(x)).sum(axis=1) + 2 * math.log(signal)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, variables["params"]["network"])
    at = lambda *args: inner.network.apply({"params": moved}, *args)  # noqa: E731
    out = at(x, jnp.array([3.0, 3.0]), 2, False, given)
    assert out.shape == (2, 2)
    for other in (
        at(x + 1, jnp.array([3.0, 3.0]), 2, False, given),
        at(x, jnp.array([4.0, 4.0]), 2, False, given),
        at(x, jnp.array([3.0, 3.0]), 2, False, given[::-1]),
    ):
        assert np.all(np.abs(other - out).max(axis=1) > 1e-4)


def test_integers_are_dequantised(x64):
    """The mean over draws of log p at y, in units of a level; a draw's noise depends on key and number only."""
    inner = DDPM(image(2, 2, 1, 5), Exact())
    pure = functional(ProbabilityFlow(inner, Solver(tolerance=1e-4)))
    x = random_events(inner, 3)
    found = jax.jit(pure.log_prob, static_argnames="draws")({}, x, KEY, draws=2)
    expected = []
    for draw in range(2):
        u = jax.random.uniform(fold_in(fold_in(KEY, draw), "u"), x.shape)
        y = np.asarray(2 * x + 2 * u - 1) / 4 - 1
        expected.append(closed_form(y.reshape(3, 4)) + 4 * math.log(2 / 4))
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-3)


def test_the_solution_back_gives_samples(x64):
    """From N(0, 1): in closed form, whatever the tolerance of the solver; and none is trained or coded."""
    model = ProbabilityFlow(DDPM(points(2), Exact()), Solver(tolerance=1e-6))
    pure = functional(model)
    x = jax.jit(pure.sample, static_argnums=2)({}, KEY, 4)
    z = np.asarray(jax.random.normal(KEY, (4, 2)))
    np.testing.assert_allclose(x, flowed(z, STEPS, 1) / math.sqrt(SHARE[1]), atol=1e-4)
    assert (model.value, model.kind, model.codec) == ("estimate", "density", "none")
    with pytest.raises(InputError, match="which is trained"):
        model.apply({}, x, KEY, method="loss")
    random = ProbabilityFlow(model.diffusion, Solver(trace="hutchinson"))
    with pytest.raises(InputError, match="needs a key"):
        functional(random).log_prob({}, x)
