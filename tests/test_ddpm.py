"""The diffusion's bound against closed forms and its own sampler, its loss, its certificate, its report."""

import dataclasses
import functools
import itertools
import json
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, random_events
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module
from test_codec_cli import model_folder

from gen_jax import DDPM, InputError, Markov, functional, image, points
from gen_jax.density import bits_per_dim, fold_in
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.laws import diffusion as laws
from gen_jax.laws.certify import laws_of
from gen_jax.laws.small import small
from gen_jax.laws.subject import Subject
from gen_jax.models.diffusion import base, ddpm
from gen_jax.models.diffusion.ddpm import LinearSchedule
from gen_jax.ops import diffusion
from gen_jax.ops.sinusoidal import sinusoidal
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

STEPS = 5
SCHEDULE = LinearSchedule(0.1, 0.5)
CHAIN = diffusion.chain(ddpm.alpha_bar(SCHEDULE.betas(STEPS)))


class Optimal(nn.Module):
    """E[noise | x_t] where the data are independent Gaussians of this mean and variance: linear in x_t."""

    mean: float
    variance: float

    @nn.compact
    def __call__(self, x, t, outputs, train=False):
        now = diffusion.at(CHAIN, t, x.ndim)
        total = now.signal**2 * self.variance + now.noise**2
        return now.noise * (x - now.signal * self.mean) / total


class Dense(nn.Module):
    """Two layers over the event and its time."""

    @nn.compact
    def __call__(self, x, t, outputs, train=False):
        h = jnp.concatenate([x.reshape(len(x), -1), sinusoidal(t, 4)], axis=-1)
        h = nn.tanh(nn.Dense(6, name="hidden")(h))
        shape = (*x.shape[1:-1], outputs)
        return nn.Dense(math.prod(shape), name="out")(h).reshape(len(x), *shape)


EVENT = image(1, 2, 1, 3)
TWO = ("steps=2", "eta=0")
SMALL = {"network": Dense(), "timesteps": 4, "schedule": LinearSchedule(0.5, 0.8)}
MODELS = {
    "beta": DDPM(EVENT, **SMALL),
    "posterior": DDPM(EVENT, **SMALL, variance="posterior", predicted="data"),
    "learned": DDPM(EVENT, **SMALL, variance="learned", predicted="velocity", objective="hybrid"),
}
every_model = pytest.mark.parametrize("name", MODELS)


def gaussian_model(mean, spread, **fields):
    return DDPM(points(1), Optimal(mean, spread), STEPS, SCHEDULE, **fields)


def posterior_variances(variance):
    """Var(x_{t-1} | x_t) for t = 1..T, from the joint covariance of the chain."""
    total = CHAIN.signal**2 * variance + CHAIN.noise**2
    shared = np.exp(2 * CHAIN.forward[1:])
    return total[:-1] - (1 - shared) * total[:-1] ** 2 / total[1:]


def expected_terms(model, x_variance):
    """The mean of every term over Gaussian data: KL to p at equal means, and what x_0 tells of x_{t-1} beyond x_t.

    At t = 1 the former with the entropy of the data that x_1 leaves.
    """
    left = posterior_variances(x_variance)
    mean = model.network.mean
    scale = CHAIN.large if model.variance == "beta" else CHAIN.posterior
    ratio = left / np.exp(2 * scale[1:])
    told = 0.5 * np.log(left[1:] / np.exp(2 * CHAIN.posterior[2:]))
    entropy = 0.5 * np.log(2 * np.pi * math.e * left[:1])
    square = CHAIN.signal[-1] ** 2 * (mean**2 + x_variance)
    last = 0.5 * (square + CHAIN.noise[-1] ** 2 - 1) - np.log(CHAIN.noise[-1])
    steps = 0.5 * (ratio - 1 - np.log(ratio)) + np.concatenate([entropy, told])
    return np.append(steps, last)


def measured_terms(model):
    """The same by Gauss-Hermite quadrature over data and noise, through the model's own terms."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    x, noise, weight = [], [], []
    for (a, u), (b, v) in itertools.product(zip(nodes, weights, strict=True), repeat=2):
        x.append(model.network.mean + math.sqrt(model.network.variance) * a)
        noise.append(b)
        weight.append(u * v / (2 * np.pi))
    x, noise = jnp.asarray(x)[:, None], jnp.asarray(noise)[:, None]
    rows, times = len(x), jnp.repeat(jnp.arange(1, STEPS + 1), len(x))
    tiled = jnp.tile(x, (STEPS, 1)), times, jnp.tile(noise, (STEPS, 1))
    each = model.apply({}, *tiled, method="term")[0].reshape(STEPS, rows)
    last = model.apply({}, x, method="prior_term")
    return np.append(each @ np.asarray(weight), last @ np.asarray(weight))


@pytest.mark.parametrize("variance", ["beta", "posterior"])
def test_the_bound_on_gaussian_data(x64, variance):
    """Every term is its closed form; their sum is no less than the entropy of the data."""
    for mean, scale in ((0.0, 1.0), (0.7, 0.2), (-0.3, 2.5)):
        model = gaussian_model(mean, scale, variance=variance)
        found = measured_terms(model)
        np.testing.assert_allclose(found, expected_terms(model, scale), rtol=1e-10, atol=1e-12)
        entropy = 0.5 * math.log(2 * math.pi * math.e * scale)
        assert found.sum() > entropy + 1e-3
    if (
        variance == "beta"
    ):  # the best variance where x_0 is standard: the bound is tight but for t = 1
        model = gaussian_model(0.0, 1.0)
        ratio = np.exp(2 * (CHAIN.forward[1] - CHAIN.large[1]))
        gap = measured_terms(model).sum() - 0.5 * math.log(2 * math.pi * math.e)
        assert gap == pytest.approx(0.5 * (ratio - 1 - math.log(ratio)))


@pytest.mark.parametrize("field", ["from_data", "posterior", "large", "noise"])
def test_a_wrong_coefficient_is_no_closed_form(x64, monkeypatch, field):
    """One entry off by 2 % shows in the terms."""
    model = gaussian_model(0.7, 0.2)
    values = getattr(CHAIN, field).copy()
    values[3] *= 1.02
    wrong = CHAIN._replace(**{field: values})
    monkeypatch.setattr(ddpm.DDPM, "chain", lambda self, steps=None: wrong)
    off = np.abs(measured_terms(model) - expected_terms(model, 0.2))
    assert off.max() > 1e-4


def test_every_term_is_counted_once(x64, monkeypatch):
    """In chunks that do not divide T, two draws averaged: as one by one with the same noise; log_prob is their sum."""
    model = dataclasses.replace(MODELS["learned"], timesteps=7)
    pure, variables = build(model)
    x, key, draws = random_events(model, 3), jax.random.key(0), 2
    monkeypatch.setattr(base, "VALUES_AT_ONCE", 3 * x.size)
    found = jax.jit(lambda x: model.apply(variables, x, key, draws, method="terms"))(x)

    @jax.jit
    def one(t, draw):
        noise = jax.random.normal(fold_in(fold_in(key, draw), t), x.shape, jnp.float64)
        return model.apply(variables, x, jnp.full(3, t), noise, method="term")[0]

    for t in range(1, 8):
        expected = (one(t, 0) + one(t, 1)) / 2
        np.testing.assert_allclose(found[:, t - 1], expected, rtol=1e-12)
    np.testing.assert_allclose(found[:, 7], model.apply({}, x, method="prior_term"))
    bound = pure.log_prob(variables, x, key, draws=draws)
    np.testing.assert_allclose(bound, -found.sum(axis=1))
    curve = model.apply(variables, x, key, method="curves")["Terms L_t of the bound, bits/dim"]
    assert curve.shape == (3, 8)
    with pytest.raises(InputError, match="needs a key"):
        pure.log_prob(variables, x)


@every_model
def test_weights_of_trajectories_are_the_sampler(x64, name):
    """p(x), the mean weight of trajectories, sums to 1 and is how often x is drawn; log w averages to the bound."""
    model, rows, n = MODELS[name], 4000, 40_000
    pure, variables = build(model)
    x = jnp.repeat(jnp.asarray(all_events(model)), rows, axis=0)
    walk = jax.jit(lambda key: laws.trajectory(model, variables, key, len(x), x)[1])
    log_weights = np.asarray(walk(jax.random.key(1))).reshape(-1, rows)
    weights = np.exp(log_weights)
    mean, error = weights.mean(axis=1), weights.std(axis=1) / math.sqrt(rows)
    assert abs(mean.sum() - 1) < 4 * np.linalg.norm(error)
    assert np.linalg.norm(error) < 0.05
    drawn = jax.jit(pure.sample, static_argnums=2)(variables, jax.random.key(2), n)
    share = np.bincount(np.asarray(drawn).reshape(n, 2) @ [3, 1], minlength=9) / n
    assert np.all(np.abs(share - mean) < 4.5 * np.sqrt(error**2 + mean / n))
    bound = jax.jit(pure.log_prob)(variables, x, jax.random.key(3)).reshape(-1, rows)
    gap = np.asarray(bound) - log_weights
    assert np.all(np.abs(gap.mean(axis=1)) < 4.5 * gap.std(axis=1) / math.sqrt(rows))


def test_the_time_at_a_ratio_of_signal_to_noise(x64):
    """At -log SNR of x_t it is t, of any chain; it is linear between two steps, and stays at 1 and T beyond them."""
    model = gaussian_model(0.0, 1.0)
    for steps in (None, 3):
        chain = model.chain(steps)
        gamma = 2 * np.log(chain.noise[1:] / chain.signal[1:])
        np.testing.assert_allclose(model.time_at(jnp.asarray(gamma)), chain.time[1:])
    gamma = 2 * np.log(CHAIN.noise[1:] / CHAIN.signal[1:])
    between = jnp.asarray([gamma[0] - 9, 0.7 * gamma[1] + 0.3 * gamma[2], gamma[-1] + 9])
    np.testing.assert_allclose(model.time_at(between), [1, 2.3, STEPS])


def test_the_terms_of_a_shorter_chain(x64):
    """They are those of its trajectories."""
    model = MODELS["posterior"]
    _, variables = build(model)
    x, key = jnp.repeat(random_events(model, 1), 8000, axis=0), jax.random.key(0)
    terms = functools.partial(model.apply, variables, steps=2, method="terms")
    summed = np.asarray(jax.jit(terms)(x, key)).sum(axis=1)
    walk = jax.jit(lambda key: laws.trajectory(model, variables, key, len(x), x, steps=2)[1])
    gap = np.asarray(walk(jax.random.key(1))) + summed
    assert abs(gap.mean()) < 4.5 * gap.std() / math.sqrt(len(x))


def test_simulated_is_what_the_sampler_draws(x64):
    model = MODELS["learned"]
    pure, variables = build(model)
    key = jax.random.key(5)
    x, _ = laws.simulated(model, variables, key, 20, 1)
    np.testing.assert_array_equal(x, pure.sample(variables, fold_in(key, "own"), 20))
    assert np.unique(x).size == 3


def test_the_weights_of_the_simple_loss(x64):
    """1 for every t, where the bound has beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) (Ho et al. 2020, equation 12)."""
    rows = 4000
    model = DDPM(points(2), Dense(), STEPS, SCHEDULE)
    pure, variables = build(model)
    x = jnp.tile(jnp.array([[0.4, -1.1]]), (rows, 1))
    terms, errors = [], []
    for t in range(1, STEPS + 1):
        noise = jax.random.normal(jax.random.key(t), x.shape, jnp.float64)
        term, error = model.apply(variables, x, jnp.full(rows, t), noise, method="term")
        beta = math.exp(2 * CHAIN.forward[t])
        if t > 1:
            weight = beta / (2 * (1 - beta) * CHAIN.noise[t] ** 2)
            apart = term - weight * 2 * error  # 2 dimensions
            np.testing.assert_allclose(apart, apart[0] * np.ones(rows), rtol=1e-9)
        terms.append(term)
        errors.append(error)
    loss, (metrics, _) = jax.jit(pure.loss)(variables, x, jax.random.key(0))
    assert loss == metrics["squared_error"]
    spread = np.std(np.stack(errors)) / math.sqrt(rows)
    assert abs(loss - np.mean(np.stack(errors))) < 5 * spread
    bound = np.mean(np.sum(np.stack(terms), axis=0) + model.apply({}, x, method="prior_term"))
    expected = float(bits_per_dim(jnp.asarray(bound), model.event))
    assert abs(metrics["bits_per_dim"] - expected) < 5 * STEPS * np.std(terms) / math.sqrt(rows)


def test_objectives(x64):
    """The bound in bits/dim; the hybrid is the error and 0.001 of it, which trains nothing but the variance."""
    model = DDPM(points(2), Dense(), STEPS, SCHEDULE, variance="learned", objective="hybrid")
    pure, variables = build(model)
    x, key = jax.random.normal(jax.random.key(1), (16, 2)), jax.random.key(0)

    def gradient(objective):
        pure = functional(dataclasses.replace(model, objective=objective))
        program = jax.jit(jax.value_and_grad(pure.loss, has_aux=True))
        (value, (metrics, _)), grads = program(variables, x, key)
        return value, metrics, grads["params"]["network"]["out"]["bias"]

    hybrid, metrics, slope = gradient("hybrid")
    assert hybrid == pytest.approx(metrics["squared_error"] + 1e-3 * metrics["bits_per_dim"])
    bound, same, other = gradient("bound")
    assert bound == same["bits_per_dim"] == metrics["bits_per_dim"]
    np.testing.assert_allclose(slope[2:], 1e-3 * other[2:])

    def error(params):
        return pure.loss({"params": params}, x, key)[1][0]["squared_error"]

    only = jax.grad(error)(variables["params"])["network"]["out"]["bias"]
    np.testing.assert_allclose(slope[:2], only[:2])
    assert not np.any(only[2:])


def failing(model, patched=None):
    """Names of the laws that fail, of all or of those named."""
    pure, variables = build(model)
    x = np.asarray(random_events(model, 16))
    subject = Subject(pure, variables, x, None, 0)
    chosen = laws_of(model) if patched is None else [laws_of(model)[i] for i in patched]
    return {row.law for law in chosen for row in law(subject) if not row.passed}


def test_the_laws_hold():
    assert failing(MODELS["beta"]) == set()
    pure = functional(small(DDPM(image(8, 8))))  # with the published network
    x = jnp.zeros((2, *pure.model.event.shape), jnp.int32)
    jax.eval_shape(pure.init, jax.random.key(0), x)


@pytest.mark.parametrize(("values", "walks"), [(laws.VALUES, 256), (1, 32)])
def test_large_events_have_fewer_trajectories(values, walks, monkeypatch):
    """Small ones as many as ever."""
    monkeypatch.setattr(laws, "VALUES", values)
    pure, variables = build(MODELS["beta"])
    x = np.asarray(random_events(pure.model, 16))
    [row] = laws.trajectories(Subject(pure, variables, x, None, 0))
    assert row.passed
    assert row.note.startswith(f"{walks} trajectories, ")


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_a_mis_scaled_term_is_caught(monkeypatch, factor):
    """In the bound by the trajectories, in these by the sum over all images."""
    right = ddpm.gaussian.kl
    with monkeypatch.context() as patch:
        patch.setattr(ddpm.gaussian, "kl", lambda *a: factor * right(*a))
        assert failing(MODELS["beta"], [2]) == {"terms = trajectories"}
    forward = ddpm.gaussian.log_prob
    with monkeypatch.context() as patch:
        patch.setattr(ddpm.gaussian, "log_prob", lambda *a: factor * forward(*a))
        assert "unit sum" in failing(MODELS["beta"], [4])


def test_a_wrong_chain_is_caught(monkeypatch):
    right = ddpm.diffusion.chain

    def wrong(*args):
        found = right(*args)
        return found._replace(from_data=found.from_noisy, from_noisy=found.from_data)

    monkeypatch.setattr(ddpm.diffusion, "chain", wrong)
    assert failing(MODELS["beta"], [0]) == {"chain"}


def test_a_negative_term_and_a_bound_above_are_caught(monkeypatch):
    right = base.ChainBound.terms
    monkeypatch.setattr(base.ChainBound, "terms", lambda *a, **k: right(*a, **k).at[:, 1].add(-3.0))
    assert "terms not below 0" in failing(MODELS["beta"], [1])
    assert failing(MODELS["beta"], [3]) == {"lower below upper"}


def test_only_a_diffusion_has_the_ode(tmp_path):
    with pytest.raises(InputError, match="markov is not a diffusion"):
        load_run(model_folder(tmp_path, Markov(image(8, 8, 1, 17)))).by_ode()


def test_through_the_commands(data_dir, tmp_path):
    """Trained, evaluated as a bound, drawn by other steps, the terms in the report."""
    model = DDPM(image(8, 8, levels=17), Dense(), timesteps=4)
    judge = Evaluate(every=2, batch_size=64, examples=64)
    experiment = Experiment(model=model, data=Data("digits"), steps=2, batch_size=8, evaluate=judge)
    run, options = tmp_path / "run", ("--data-dir", data_dir, "--trust")
    train(experiment, WorkDir(run), data_dir)
    record = json.loads(succeed("evaluate", run, *options, "--json"))
    assert (record["system"], record["value"], record["certified"]) == ("ddpm", "bound", False)
    whole = (run / "result.json").read_bytes()
    by_ode = ("--ode", "--limit", 3, "--draws", 2, "--solver", "tolerance=0.1")
    estimate = json.loads(succeed("evaluate", run, *options, *by_ode, "--json"))
    assert (estimate["value"], estimate["draws"]) == ("estimate", 2)
    assert (estimate["solver"]["tolerance"], estimate["solver"]["trace"]) == (0.1, "hutchinson")
    printed = succeed("evaluate", run, *options, *by_ode)
    assert re.search(r"test: ~ .*\(tsit5, 0.1, hutchinson, 2 draws; ~ .* nats\), estimate", printed)
    assert "by the probability-flow ODE of uniformly dequantised integers" in printed
    assert printed.strip().endswith("not certified, since certificates are of the bound")
    assert (run / "result.json").read_bytes() == whole
    status, _, err = call("evaluate", run, *options, "--solver", "tolerance=0.1")
    assert (status, "ddpm solves no ODE" in err) == (2, True)
    found = {}
    for name, settings in {"all": (), "ddim": TWO, "solver": (*TWO, "order=2")}.items():
        flags = [word for setting in settings for word in ("--sampler", setting)]
        out = tmp_path / f"{name}.npz"
        succeed("sample", run, "--num", 3, "--out", out, "--trust", *flags)
        with np.load(out) as arrays:
            found[name] = arrays["samples"]
    assert found["all"].shape == (3, 8, 8, 1)
    assert np.any(found["all"] != found["ddim"])
    assert np.any(found["solver"] != found["ddim"])
    for setting, words in {"steps=9": "9 exceeds", "stepz=2": "did you mean steps"}.items():
        flags = ("--num", 3, "--out", tmp_path / "no.npz", "--trust", "--sampler", setting)
        status, _, err = call("sample", run, *flags)
        assert status == 2
        assert words in err
    succeed("report", run, "--out", tmp_path / "report.html", *options)
    page = (tmp_path / "report.html").read_text()
    assert ">Terms L_t of the bound, bits/dim</h2>" in page
    assert "the 5 terms add up to" in page
