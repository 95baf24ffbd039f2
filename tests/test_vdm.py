"""VDM: its chain, bounds against closed forms and quadrature, schedules, decoder, sampler; its laws and their bugs."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, random_events
from test_ddpm import Dense

from gen_jax import (
    VDM,
    InputError,
    LinearGamma,
    MonotoneGamma,
    UNet,
    VDMSampler,
    functional,
    image,
    points,
)
from gen_jax.density import bits_per_dim, num_parameters
from gen_jax.laws import diffusion as laws
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.models.diffusion import vdm
from gen_jax.ops import diffusion

FIRST, LAST = -4.0, 3.0
MEAN, VARIANCE = 0.3, 0.5


class Optimal(nn.Module):
    """What is added to z_t for E[eps | z_t], if the data are independent Gaussians of MEAN and VARIANCE."""

    @nn.compact
    def __call__(self, x, time, outputs, train=False):
        gamma = FIRST + (LAST - FIRST) * time[:, None] / vdm.SCALE
        signal, noise = (jnp.sqrt(jax.nn.sigmoid(sign * gamma)) for sign in (-1, 1))
        z = x[..., :outputs]
        return noise * (z - signal * MEAN) / (signal**2 * VARIANCE + noise**2) - z


class Quiet(nn.Module):
    """A tenth of two layers, which read the class if there is one: weights of trajectories that differ little."""

    @nn.compact
    def __call__(self, x, time, outputs, train=False, y=None):
        h = Dense()(x, time, outputs, train)
        if y is not None:
            h += nn.Dense(outputs)(y)[:, None, None]
        return 0.1 * h


GAMMAS = {
    "linear": LinearGamma(FIRST, LAST),
    "monotone": MonotoneGamma(FIRST, LAST, units=5),
}
DISCRETE = VDM(
    image(1, 2, 1, 3), Dense(), timesteps=3, schedule=LinearGamma(-2.0, 2.0), fourier=(0, 1)
)
CONTINUOUS = DISCRETE.clone(timesteps=None, sampler=VDMSampler(3))
MODELS = {
    "discrete": DISCRETE,
    "continuous": CONTINUOUS,
    "monotone": CONTINUOUS.clone(schedule=MonotoneGamma(-2.0, 2.0, units=4)),
}
every_model = pytest.mark.parametrize("name", MODELS)


def moved(schedule):
    """A schedule and variables away from the start, some of them negative."""
    variables = schedule.init(jax.random.key(0), jnp.zeros(1))
    rng = np.random.default_rng(1)
    return variables, jax.tree.map(
        lambda leaf: jnp.asarray(leaf + rng.normal(size=leaf.shape)), variables
    )


@pytest.mark.parametrize("name", GAMMAS)
def test_schedules_increase(x64, name):
    """From `first` to `last` at the start, and whatever the weights; the slope is the derivative."""
    schedule = GAMMAS[name]
    initial, other = moved(schedule)
    ends = schedule.apply(initial, jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [FIRST, LAST], atol=1e-3)
    t = jnp.linspace(0, 1, 101)
    gamma = schedule.apply(other, t)
    assert np.all(np.diff(gamma) > 0)
    model = VDM(points(1), Optimal(), schedule=schedule)
    same, slope = model.apply(
        {"params": {"schedule": other["params"]}}, t, method="_gamma_and_slope"
    )
    np.testing.assert_array_equal(same, gamma)
    h = 1e-6
    expected = (schedule.apply(other, t + h) - schedule.apply(other, t - h)) / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_the_chain_of_gammas_is_that_of_alpha_bars(x64):
    """Where both are defined: at all coefficients but those of x_0, from 1 - alpha_bar = sigmoid(gamma)."""
    gamma = np.array([-3.0, -1.0, 0.5, 2.0])
    found = diffusion.chain_of(jnp.asarray(gamma), jnp.arange(1.0, 5.0))
    expected = diffusion.chain(np.append(1.0, 1 / (1 + np.exp(gamma))))
    found = found._replace(time=found.time.at[0].set(0.0))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-12), found, expected)


def expected_continuous():
    """Reconstruction, diffusion and prior term of one dimension for the optimal network, by closed forms.

    Diffusion is 1/2 the integral of Var(eps | z) = signal^2 v / (signal^2 v + noise^2) over gamma.
    """
    reconstruction = 0.5 * (math.log(2 * math.pi) + FIRST + 1)
    integral = math.log1p(VARIANCE * math.exp(-FIRST)) - math.log1p(VARIANCE * math.exp(-LAST))
    signal, noise = (1 / (1 + math.exp(sign * LAST)) for sign in (1, -1))
    prior = 0.5 * (signal * (MEAN**2 + VARIANCE) + noise - 1 - math.log(noise))
    return reconstruction, 0.5 * integral, prior


def test_the_bound_on_gaussian_data(x64):
    """By quadrature over data, noise and t: closed forms in continuous time, for every schedule with these ends.

    In T steps it is higher by c / T, with both forms of a step's term, and no less than the entropy.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    a, b = np.meshgrid(nodes, nodes)
    weight = np.outer(weights, weights).ravel() / (2 * np.pi)
    x = jnp.asarray(MEAN + math.sqrt(VARIANCE) * a.ravel())[:, None]
    noise = jnp.asarray(b.ravel())[:, None]
    model = VDM(points(1), Optimal(), schedule=LinearGamma(FIRST, LAST), fourier=())
    variables = model.init(jax.random.key(0), x, jax.random.key(0), method="loss")
    call = functools.partial(model.apply, variables)
    gamma_0 = call(2, method="_gamma")[0]
    reconstruction = call(x, noise, gamma_0, method="reconstruction") @ weight
    prior = call(x, method="prior_term") @ weight
    points_t, weights_t = np.polynomial.legendre.leggauss(40)
    points_t, weights_t = (points_t + 1) / 2, weights_t / 2

    def diffused(model, variables, times, weights_of_times):
        rows = np.repeat(times, len(x))
        tiled = (jnp.tile(part, (len(times), 1)) for part in (x, noise))
        x_0, eps = tiled
        program = jax.jit(functools.partial(model.apply, method="diffused"))
        term, _ = program(variables, x_0, jnp.asarray(rows), eps)
        return weights_of_times @ (term.reshape(len(times), -1) @ weight)

    found = reconstruction, diffused(model, variables, points_t, weights_t), prior
    np.testing.assert_allclose(found, expected_continuous(), rtol=1e-9)
    entropy = 0.5 * math.log(2 * math.pi * math.e * VARIANCE)
    assert sum(found) > entropy

    bent = model.clone(schedule=MonotoneGamma(FIRST, LAST, units=3))
    rate = {"u": [3.0, 9.0, 1.0], "v": [4.0, 2.0, 5.0], "c": [0.1, -0.5, 0.4]}
    params = {name: jnp.asarray(value) for name, value in rate.items()}
    for _ in range(2):  # the ends are set so that they are FIRST and LAST
        params |= {"b": jnp.asarray(params.get("b", 0.0)), "w": jnp.asarray(params.get("w", 1.0))}
        low, high = bent.schedule.apply({"params": params}, jnp.array([0.0, 1.0]))
        params["w"] += (LAST - FIRST) - (high - low)
        params["b"] += FIRST - low
    assert params["w"] > 0
    same = diffused(bent, {"params": {"schedule": params}}, points_t, weights_t)
    assert float(same) == pytest.approx(float(found[1]), rel=1e-6)

    sums = []
    for T in (100, 200):
        steps = model.clone(timesteps=T)
        middle = (np.arange(T) + 0.5) / T
        uniform = diffused(steps, variables, middle, np.full(T, 1 / T))
        times = jnp.repeat(jnp.arange(2, T + 2), len(x))
        x_0, eps = (jnp.tile(part, (T, 1)) for part in (x, noise))
        terms = jax.jit(functools.partial(steps.apply, method="term"))(variables, x_0, times, eps)[
            0
        ]
        assert float((terms.reshape(T, -1) @ weight).sum()) == pytest.approx(float(uniform))
        sums.append(float(uniform))
    assert sums[0] > sums[1] > found[1]
    assert 2 * sums[1] - sums[0] == pytest.approx(float(found[1]), rel=1e-3)


def test_a_term_is_the_divergence_of_two_gaussians(x64):
    """1/2 (exp(gamma_t - gamma_s) - 1) |eps - eps_theta|^2 = KL(q(z_s | z_t, x) || p(z_s | z_t))."""
    _, variables = build(DISCRETE)
    call, x = functools.partial(DISCRETE.apply, variables), random_events(DISCRETE, 5)
    noise = jax.random.normal(jax.random.key(0), x.shape)
    chain, x_0 = call(method="chain"), call(x, method="to_reals")
    for t in (2, 3, 4):
        now = diffusion.at(chain, jnp.full(5, t), 4)
        x_t = diffusion.diffused(now, x_0, noise)
        back = call(x_t, now, method="back")
        means = (diffusion.posterior_mean(now, data, x_t) for data in (x_0, back.data))
        true, mean = means
        kl = jnp.sum((true - mean) ** 2, axis=(1, 2, 3)) / (2 * jnp.exp(2 * back.log_scale).ravel())
        term, _ = call(x, jnp.full(5, t), noise, method="term")
        np.testing.assert_allclose(term, kl, rtol=1e-9)


def test_events_are_the_middles_of_their_levels(x64):
    """From -2/3 to 2/3 for three levels; the nearest event to reals near them, and beyond both ends."""
    x = jnp.arange(3).reshape(3, 1, 1, 1)
    reals = DISCRETE.to_reals(x)
    np.testing.assert_allclose(reals.ravel(), [-2 / 3, 0, 2 / 3], atol=1e-12)
    for shift in (-0.3, 0.0, 0.3):
        np.testing.assert_array_equal(DISCRETE.to_event(reals + shift), x)
    np.testing.assert_array_equal(DISCRETE.to_event(2.0 * reals), x)


def test_the_decoder(x64):
    """A softmax over the levels at z_0 / alpha_0; it sums to 1, and draws follow it."""
    _, variables = build(DISCRETE)
    call = functools.partial(DISCRETE.apply, variables)
    now = diffusion.at(call(method="chain"), jnp.ones(9, int), 4)
    z_0 = jnp.broadcast_to(jnp.array([0.2, -0.7]).reshape(1, 1, 2, 1), (9, 1, 2, 1))
    log_p = call(jnp.asarray(all_events(DISCRETE)), z_0, now, method="log_decoder")
    scaled, variance = (
        np.array([0.2, -0.7]) / now.signal[0, 0, 0, 0],
        np.exp(call(2, method="_gamma")[0]),
    )
    levels = np.array([-2, 0, 2]) / 3
    weights = np.exp(-((scaled[:, None] - levels) ** 2) / (2 * variance))
    each = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_p.sum(axis=(1, 2, 3))), np.outer(*each).ravel())
    n = 20_000
    now = diffusion.at(call(method="chain"), jnp.ones(n, int), 4)
    drawn = call(jnp.tile(z_0[:1], (n, 1, 1, 1)), now, jax.random.key(0), method="decode")
    for place in (0, 1):
        share = np.bincount(np.asarray(drawn)[:, 0, place, 0], minlength=3) / n
        assert np.all(np.abs(share - each[place]) < 4.5 * np.sqrt(each[place] / n))
    mode = call(
        z_0,
        now._replace(signal=now.signal[:9], noise=now.noise[:9]),
        jax.random.key(0),
        temperature=1e-6,
        method="decode",
    )
    np.testing.assert_array_equal(mode[0].ravel(), each.argmax(axis=1))


@pytest.mark.parametrize("name", ["discrete", "continuous"])
def test_the_loss_is_the_bound(x64, name):
    """Its mean over keys is that of -log_prob, which is quadrature over t; with any number of draws."""
    model = MODELS[name]
    pure, variables = build(model)
    x, keys = random_events(model, 4), jax.random.split(jax.random.key(0), 4000)
    loss = np.asarray(jax.jit(jax.vmap(lambda key: pure.loss(variables, x, key)[0]))(keys))
    t, weights = np.polynomial.legendre.leggauss(24)
    t, weights = (t + 1) / 2, weights / 2

    @jax.jit
    def exact(key):
        """The bound at one draw of noise for each t, in T steps or at 24 nodes of quadrature."""
        if model.timesteps:
            return model.apply(variables, x, key, method="terms").sum(axis=1)
        keys = jax.random.split(key, len(t))
        at = functools.partial(model.apply, variables, x, method="terms_at")
        terms = jax.vmap(lambda node, key: at(jnp.full(4, node), key))(jnp.asarray(t), keys)
        return jnp.asarray(weights) @ terms + model.apply(variables, x, method="prior_term")

    each = np.asarray(jax.jit(jax.vmap(exact))(keys[:1000])).mean(axis=1)
    expected = np.asarray(bits_per_dim(jnp.asarray(each), model.event))
    draws = {1: 4000, 7: 1000}
    found = {"loss": loss}
    for number, repeats in draws.items():
        bound = jax.jit(
            jax.vmap(lambda key, number=number: pure.log_prob(variables, x, key, draws=number))
        )
        nats = jnp.mean(bound(keys[:repeats]), axis=1)
        found[number] = -np.asarray(bits_per_dim(nats, model.event))
    for values in found.values():
        error = math.hypot(values.std() / math.sqrt(len(values)), expected.std() / math.sqrt(1000))
        assert abs(values.mean() - expected.mean()) < 4.5 * error
        assert error < 0.02


def test_times_are_stratified(x64, monkeypatch):
    """One in each 1/B of [0, 1) in a batch, one in each 1/draws for an example, whatever its neighbours."""
    seen = []
    right = VDM.diffused

    def diffused(self, x_0, t, *args, **options):
        jax.debug.callback(lambda t: seen.append(np.asarray(t)), t)
        return right(self, x_0, t, *args, **options)

    monkeypatch.setattr(VDM, "diffused", diffused)
    pure, variables = build(CONTINUOUS)
    seen.clear()
    pure.loss(variables, random_events(CONTINUOUS, 8), jax.random.key(3))
    jax.effects_barrier()
    np.testing.assert_array_equal(np.sort(np.floor(seen[0] * 8)), np.arange(8))
    seen.clear()
    x = random_events(CONTINUOUS, 3)
    pure.log_prob(variables, x, jax.random.key(3), draws=5)
    jax.effects_barrier()
    times = np.stack(seen, axis=1)
    np.testing.assert_array_equal(
        np.sort(np.floor(times * 5), axis=1), np.tile(np.arange(5), (3, 1))
    )
    assert len(np.unique(times[:, 0])) == 3


@every_model
def test_weights_of_trajectories_are_the_sampler(x64, name):
    """p(x), the mean weight of trajectories, sums to 1 and is how often x is drawn."""
    model, rows, n = MODELS[name], 1500, 20_000
    pure, variables = build(model)
    x = jnp.repeat(jnp.asarray(all_events(model)), rows, axis=0)
    walk = jax.jit(lambda key: laws.trajectory(model, variables, key, len(x), x)[1])
    weights = np.exp(np.asarray(walk(jax.random.key(1))).reshape(-1, rows))
    mean, error = weights.mean(axis=1), weights.std(axis=1) / math.sqrt(rows)
    assert abs(mean.sum() - 1) < 4 * np.linalg.norm(error)
    assert np.linalg.norm(error) < 0.05
    key = jax.random.key(2)
    drawn = jax.jit(pure.sample, static_argnums=2)(variables, key, n)
    share = np.bincount(np.asarray(drawn).reshape(n, 2) @ [3, 1], minlength=9) / n
    assert np.all(np.abs(share - mean) < 4.5 * np.sqrt(error**2 + mean / n))
    same = jax.jit(lambda key: laws.trajectory(model, variables, key, n)[0])(key)
    np.testing.assert_array_equal(same, drawn)


def failing(model, chosen):
    pure, variables = build(model)
    subject = Subject(pure, variables, np.asarray(random_events(model, 16)), None, 0)
    return {row.law for law in chosen for row in law(subject) if not row.passed}


@pytest.mark.slow
def test_the_laws_hold():
    assert laws.limit in laws_of(CONTINUOUS)
    assert laws.limit not in laws_of(DISCRETE)
    model = MODELS["monotone"].clone(network=Quiet())
    assert failing(model, laws_of(model)) == set()


def test_a_slope_without_the_half_is_caught(monkeypatch):
    """In continuous time the bound is not the limit of its steps."""
    right = VDM._gamma_and_slope

    def wrong(self, t):
        gamma, slope = right(self, t)
        return gamma, 2 * slope

    monkeypatch.setattr(VDM, "_gamma_and_slope", wrong)
    assert failing(CONTINUOUS, [laws.limit]) == {"limit of steps"}


def test_a_wrong_weight_of_a_step_is_caught(monkeypatch):
    right = VDM.term
    monkeypatch.setattr(VDM, "term", lambda *a, **k: (3 * right(*a, **k)[0], None))
    assert failing(DISCRETE, [laws.trajectories]) == {"terms = trajectories"}


def test_a_decreasing_schedule_is_caught(monkeypatch):
    monkeypatch.setattr(LinearGamma, "__call__", lambda self, t: 2.0 - 4.0 * t + 9.0 * t**2)
    assert failing(DISCRETE.clone(timesteps=5), [laws.chain]) == {"chain"}


def test_the_class_changes_the_bound():
    model = CONTINUOUS.clone(network=Quiet(), num_classes=3)
    pure, variables = build(model)
    x, cond = np.asarray(random_events(model, 6)), np.arange(6) % 3
    subject = Subject(pure, variables, x, cond, 0)
    chosen = [law for law in laws_of(model) if law.__name__ in ("depends", "trajectories")]
    assert len(chosen) == 2
    assert [row for law in chosen for row in law(subject) if not row.passed] == []


def test_parameter_count_of_the_published_network():
    """The code of the paper has 30,578,181, of which 512 are of an input for a class, which is always zero there."""
    model = VDM(image(32, 32, 3))
    x = jnp.zeros((1, 32, 32, 3), jnp.int32)
    shapes = jax.eval_shape(functional(model).init, jax.random.key(0), x)
    assert num_parameters(model, shapes) == 30_578_181 - 512
    for schedule, parameters in ((LinearGamma(), 2), (MonotoneGamma(), 2 + 3 * 1024)):
        shapes = jax.eval_shape(schedule.init, jax.random.key(0), jnp.zeros(1))
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (DISCRETE.clone(timesteps=0), "timesteps must be at least 1, or None"),
        (DISCRETE.clone(schedule=LinearGamma(2.0, 1.0)), "first < last, not 2.0 and 1.0"),
        (VDM(image(8, 8), UNet(features=48)), "groups 32 must divide .* 48"),
    ],
)
def test_impossible_values_are_refused(model, sentence):
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(
            functional(model).init, jax.random.key(0), jnp.zeros((1, *model.event.shape), jnp.int32)
        )


def test_impossible_steps_are_refused():
    with pytest.raises(InputError, match="must be at least 1, not 0"):
        VDMSampler(0)
    with pytest.raises(InputError, match="at least 2 steps, not 1"):
        DISCRETE.bind(build(DISCRETE)[1]).chain(1)
