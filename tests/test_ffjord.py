"""FFJORD: the laws hold and planted faults are caught; draws average log p; steps and stiff solves are reported."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module

from gen_jax import FFJORD, ImageFFJORD, InputError, RealNVP, Solver, functional, image, points
from gen_jax.data import prepared
from gen_jax.density import Solving, num_parameters, takes_draws
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.laws import bound as bounds
from gen_jax.laws import flow as laws
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.models.flow import ffjord
from gen_jax.ops import ode
from gen_jax.ops.importance import importance_weighted_bound_in_chunks
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

RANDOM = Solver("bosh3", 1e-4, trace="hutchinson")
PLANE = FFJORD(hidden=(6,), solver=Solver(tolerance=1e-6))
PAIR = ImageFFJORD(image(1, 2, 1, 3), hidden=(3,), mix="concat", alpha=0.1, solver=RANDOM)
SCALES = ImageFFJORD(image(4, 2, 2, 3), hidden=(3,), scales=2, solver=RANDOM, num_classes=2)


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Keep the certificates short."""
    monkeypatch.setattr(laws, "SIDE", 256)
    monkeypatch.setattr(laws, "SAMPLES", 512)
    monkeypatch.setattr(laws, "OUTSIDE", 512)
    monkeypatch.setattr(bounds, "SUMMED", 2**14)


def moved(model, scale=0.5):
    """Pure functions, and initial weights plus noise; the time stays."""
    pure, rng = functional(model), np.random.default_rng(0)
    x, cond = reals(model, 2), labels(model, 2)
    variables = jax.jit(pure.init)(jax.random.key(0), x, cond=cond)

    def noisy(path, leaf):
        return leaf + scale * rng.normal(size=leaf.shape) * (path[-1].key != "root_time")

    return pure, jax.tree_util.tree_map_with_path(noisy, variables)


def reals(model, n):
    rng = np.random.default_rng(1)
    if model.event.levels is None:
        return rng.normal(size=(n, *model.event.shape)).astype(np.float32)
    return rng.integers(0, model.event.levels, (n, *model.event.shape)).astype(np.int32)


def labels(model, n):
    return np.arange(n, dtype=np.int32) % model.num_classes if model.num_classes else None


def subject(model, scale=0.5):
    pure, variables = moved(model, scale)
    return Subject(pure, variables, reals(model, 5), labels(model, 5), 0)


def failing(model, chosen, scale=0.5):
    s = subject(model, scale)
    return {row.law for law in chosen for row in law(s) if not row.passed}


@pytest.mark.slow
def test_laws_of_an_estimate():
    """Those of its solver and trace beside those of a bijection; some hold in the plane, the others are slow."""
    plane, pair = ([law.__name__ for law in laws_of(model)] for model in (PLANE, PAIR))
    first, closed = ["solver", "trace", "averages"], ["round_trip", "determinant", "rounding"]
    assert plane == [*first, *closed, "samples", "integral", "finite"]
    assert pair == [*first, "unit_sum", "finite", *closed]
    assert failing(PLANE, (laws.trace, laws.integral)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("model", [PLANE, PAIR, SCALES], ids=["plane", "pair", "scales"])
def test_all_laws_hold(model):
    assert failing(model, laws_of(model)) == set()


@pytest.mark.slow
def test_a_forgotten_trace_is_caught(monkeypatch):
    right = ode.trace_of
    monkeypatch.setattr(ode, "trace_of", lambda *of: (right(*of)[0], 0 * right(*of)[1]))
    assert failing(PLANE, (laws.round_trip, laws.determinant)) == {"log-determinant"}


def test_signs_of_another_size_are_caught(monkeypatch):
    """Noise of variance 2 doubles the trace."""
    right = ode.signs
    double = lambda *of: jax.tree.map(lambda noise: 2**0.5 * noise, right(*of))  # noqa: E731
    monkeypatch.setattr(ode, "signs", double)
    assert failing(PLANE, (laws.trace,)) == {"trace"}


@pytest.mark.slow
def test_random_traces_are_checked_on_their_mean(monkeypatch):
    right = ode.signs
    double = lambda *of: jax.tree.map(lambda noise: 2**0.5 * noise, right(*of))  # noqa: E731
    monkeypatch.setattr(ode, "signs", double)
    assert failing(PAIR, (laws.determinant, laws.trace)) == {"log-determinant", "trace"}


def test_limits_follow_the_tolerance():
    """A hundred tolerances, and for a closed form the limits that it had."""
    assert laws.limit(PLANE, laws.ROUND_TRIP) == pytest.approx(1e-4)
    assert laws.limit(PAIR, laws.DETERMINANT) == pytest.approx(1e-2)
    assert laws.limit(RealNVP(), laws.ROUND_TRIP) == laws.ROUND_TRIP


def test_a_loose_solver_is_caught():
    loose = PLANE.clone(solver=Solver("bosh3", 0.05))
    assert failing(loose, (laws.solver,), scale=1.0) == {"solver"}


def test_a_mean_of_probabilities_is_caught(monkeypatch):
    """Hutchinson's trace is unbiased for log p, so a mean of probabilities is too high."""
    model = PLANE.clone(solver=RANDOM)
    s = subject(model, 2.0)
    exact = functional(model.clone(solver=dataclasses.replace(RANDOM, trace="exact")))
    expected = jax.jit(exact.log_prob)(s.variables, s.x)

    def too_high():
        draw = lambda v, x: s.pure.log_prob(v, x, jax.random.key(0), draws=64)  # noqa: E731
        return float((jax.jit(draw)(s.variables, s.x) - expected).mean())

    assert abs(too_high()) < 0.2
    assert failing(model, (laws.averages,), 2.0) == set()
    monkeypatch.setattr(ffjord, "mean_in_chunks", importance_weighted_bound_in_chunks)
    assert too_high() > 0.6
    assert failing(model, (laws.averages,), 2.0) == {"draws average log p"}


@pytest.mark.slow
def test_draws_are_numbered():
    """The mean over draws does not depend on how many are computed at a time, and needs a key."""
    pure, variables = moved(PAIR)
    x, key = jnp.asarray(reals(PAIR, 3)), jax.random.key(1)
    draws = pure.model.apply(variables, x, key, jnp.arange(5), method="log_draws")
    log_p = jax.jit(lambda v, x: pure.log_prob(v, x, key, draws=5))
    np.testing.assert_allclose(log_p(variables, x), draws.mean(axis=0), rtol=1e-5)
    assert draws.std(axis=0).min() > 0.01
    with pytest.raises(InputError, match="needs a key"):
        pure.log_prob(variables, x)


def test_an_exact_trace_of_points_takes_no_draws():
    assert not takes_draws(PLANE)
    assert takes_draws(PLANE.clone(solver=RANDOM))
    assert takes_draws(PAIR)
    assert (PLANE.value, PAIR.value) == ("estimate", "estimate")
    assert all(isinstance(model, Solving) for model in (PLANE, PAIR))


def test_steps_are_metrics():
    """Mean and largest number of steps of a batch, in training and at validation."""
    pure, variables = moved(PLANE)
    x, key = jnp.asarray(reals(PLANE, 8)), jax.random.key(0)
    _, (metrics, _) = jax.jit(pure.loss)(variables, x, key)
    measured = jax.device_get(pure.model.apply(variables, x, key, method="measure"))
    scalars, findings = pure.model.diagnosis(measured)
    assert findings == {}
    assert metrics["solver_steps"] == pytest.approx(scalars["solver_steps"])
    assert metrics["most_solver_steps"] == scalars["most_solver_steps"]
    assert scalars["most_solver_steps"] == measured["solver_steps"].max() > 1


def test_training_may_have_a_solver_of_its_own():
    """It solves the loss only: log p stays."""
    pure, variables = moved(PLANE)
    coarse = functional(PLANE.clone(train_solver=Solver("bosh3", 0.1)))
    x, key = reals(PLANE, 8), jax.random.key(0)
    _, (fine, _) = jax.jit(pure.loss)(variables, x, key)
    _, (metrics, _) = jax.jit(coarse.loss)(variables, x, key)
    log_p = jax.jit(coarse.log_prob)(variables, x)
    np.testing.assert_allclose(log_p, jax.jit(pure.log_prob)(variables, x), rtol=1e-6)
    assert metrics["solver_steps"] < fine["solver_steps"]
    assert 1e-5 < abs(metrics["nats"] - fine["nats"]) < 0.1


def test_a_stiff_solve_is_nan():
    pure, variables = moved(PLANE.clone(solver=Solver(max_steps=2)), 3.0)
    assert np.all(np.isnan(jax.jit(pure.log_prob)(variables, reals(PLANE, 3))))


@pytest.mark.slow
def test_scales_invert_under_their_classes():
    pure, variables = moved(SCALES)
    x = reals(SCALES, 4) + np.float32(0.5)
    options = {"cond": labels(SCALES, 4)}

    def both_ways(v, x):
        z = pure.model.apply(v, x, key=jax.random.key(0), method="forward", **options)[0]
        return z, pure.model.apply(v, z, method="inverse", **options)

    z, again = jax.jit(both_ways)(variables, x)
    assert z.shape == (4, 16)
    np.testing.assert_allclose(again, x, atol=1e-2)


def test_refusals():
    for model, match in (
        (FFJORD(image(2, 2, 1, 3)), "FFJORD is a density of points"),
        (FFJORD(points(9)), "up to 8 dimensions, not 9"),
        (ImageFFJORD(image(3, 2, 1, 3), scales=2), "sides 2 divides"),
        (ImageFFJORD(points(2)), "a model of integers"),
        (ImageFFJORD(image(2, 2, 1, 3), alpha=0.5), "alpha must lie between 0 and 0.5"),
        (FFJORD(blocks=0), "blocks must be at least 1"),
        (FFJORD(time=0.0), "time must be positive"),
        (FFJORD(hidden=(0,)), "hidden features must be positive"),
    ):
        with pytest.raises(InputError, match=match):
            model.check()


def test_parameters_of_the_plane():
    """64-64-64 with time: kernels, biases, gates and shifts of four layers, and the end time."""
    model = FFJORD()
    shapes = jax.eval_shape(functional(model).init, jax.random.key(0), jnp.zeros((2, 2)))
    layers = [(2, 64), (64, 64), (64, 64), (64, 2)]
    assert num_parameters(model, shapes) == 1 + sum(i * o + 4 * o for i, o in layers)


@pytest.mark.slow
def test_evaluates_with_its_solver(tmp_path):
    """A trained one prints and records its solver and steps; one that cannot be solved gives a sentence, status 2."""
    prepared.prepare("moons", tmp_path)
    run, data = tmp_path / "run", ("--data-dir", tmp_path)
    experiment = Experiment(
        model=PLANE, data=Data("moons"), steps=4, batch_size=64, evaluate=Evaluate(2, 500, 500)
    )
    train(experiment, WorkDir(run), tmp_path)
    printed = succeed("evaluate", run, *data, "--limit", 500)
    assert " nats (tsit5, 1e-6, exact trace), estimate, 500 examples" in printed
    assert "solver steps of an example: " in printed
    record = json.loads(succeed("evaluate", run, *data, "--limit", 500, "--json"))
    assert (record["value"], record["draws"]) == ("estimate", None)
    assert record["solver"] == dataclasses.asdict(PLANE.solver)
    assert "ODE by tsit5, tolerance 1e-06, at most 1,024 steps" in record["protocol"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(row["most_solver_steps"] >= row["solver_steps"] > 0 for row in rows)
    config = json.loads((run / "config.json").read_text())
    config["experiment"]["fields"]["model"]["fields"]["solver"]["fields"]["max_steps"] = 1
    (run / "config.json").write_text(json.dumps(config))
    status, _, err = call("evaluate", run, *data, "--limit", 500)
    assert status == 2
    assert "the ODE is stiff for 500 of 500 examples" in err
