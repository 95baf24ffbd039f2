"""Optimisers and schedules against updates computed by hand; steps that are skipped."""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gen_jax
from gen_jax import FVSBN, Data, Experiment, InputError, binary
from gen_jax.config_tree import to_tree
from gen_jax.data.prepared import Split
from gen_jax.density import Functional
from gen_jax.experiment import overridden, read
from gen_jax.optimizer import (
    Adam,
    Adamax,
    ExponentialDecay,
    InverseSqrt,
    Optax,
    OptimizerGroups,
    PiecewiseConstant,
    RMSProp,
    WarmupConstant,
    WarmupCosine,
    planned_steps,
)
from gen_jax.runs.state import TrainState
from gen_jax.train import program
from gen_jax.train.step import train_step

G1, G2 = np.array([0.5, -2.0]), np.array([1.0, 0.1])
W = np.array([3.0, -1.0])


def updates_of(optimizer, grads, params=None):
    """The updates of one leaf over the steps, with the parameters held fixed."""
    chain = optimizer.build()
    tree = {"w": jnp.asarray(W if params is None else params)}
    state, found = chain.init(tree), []
    for g in grads:
        update, state = chain.update({"w": jnp.asarray(g)}, state, tree)
        found.append(np.asarray(update["w"]))
    return found


def experiment(optimizer: Any = None, **changes) -> Experiment:
    fields = {"steps": 1000, "batch_size": 8, "optimizer": optimizer or Adam(), **changes}
    return Experiment(model=FVSBN(binary(2)), data=Data("none"), **fields)


def test_adamax_by_hand():
    """-lr (m / (1 - b1^t) / u + decay w), m a running mean of g, u = max(b2 u, |g| + eps) from zero."""
    m, u = np.zeros(2), np.zeros(2)
    optimizer = Adamax(0.1, b1=0.8, b2=0.5, eps=1e-3, weight_decay=0.01)
    for t, (g, found) in enumerate(
        zip((G1, G2), updates_of(optimizer, (G1, G2)), strict=True), start=1
    ):
        m, u = 0.8 * m + 0.2 * g, np.maximum(0.5 * u, np.abs(g) + 1e-3)
        np.testing.assert_allclose(found, -0.1 * (m / (1 - 0.8**t) / u + 0.01 * W), rtol=1e-5)


def test_lion_by_its_name():
    """-lr (sign(b1 m + (1 - b1) g) + decay w), m = b2 m + (1 - b2) g (Chen et al. 2023, 2302.06675)."""
    optimizer = Optax("lion", {"b1": 0.5, "b2": 0.9, "weight_decay": 0.1}, learning_rate=0.01)
    m = np.zeros(2)
    grads = (G1, np.array([-0.04, 0.1]))  # after G1 the momentum decides the first sign
    for g, found in zip(grads, updates_of(optimizer, grads), strict=True):
        expected = -0.01 * (np.sign(0.5 * m + 0.5 * g) + 0.1 * W)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        m = 0.9 * m + 0.1 * g
    assert hash(optimizer) == hash(Optax("lion", dict(optimizer.arguments), learning_rate=0.01))


def test_an_optax_optimiser_is_stored_and_follows_the_steps():
    before = experiment(Optax("adafactor", {"momentum": 0.9}, WarmupCosine(1e-2, 50, 1000)))
    assert read(json.loads(json.dumps(to_tree(before)))) == before
    after = overridden(before, ["steps=20", "optimizer.arguments={'decay_rate': 0.7}"])
    expected = Optax("adafactor", (("decay_rate", 0.7),), WarmupCosine(1e-2, 1, 20))
    assert after.optimizer == expected
    assert Optax("contrib.muon").build().init({"w": jnp.zeros((2, 2))}) is not None


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("lien", {}, "optax has no optimiser 'lien' (did you mean lion"),
        ("os.system", {}, "optax has no optimiser 'os.system'"),
        ("scale_by_rprop", {}, "optax has no optimiser"),
        ("adam", {"bb1": 0.9}, "adam takes no 'bb1' (did you mean b1"),
        ("adam", {"learning_rate": 0.9}, "the learning rate is a field, not an argument"),
        ("adam", {"b1": "much"}, "adam does not work with these arguments: "),
        ("lbfgs", {}, "lbfgs does not work with these arguments: "),
    ],
)
def test_an_unknown_optax_optimiser_is_refused_in_words(name, arguments, words):
    with pytest.raises(InputError) as refusal:
        Optax(name, arguments).build()
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_gradient_is_clipped_by_elements_then_by_its_norm():
    """SGD by an RMSProp with a fixed denominator of 1: v = 0 and eps 1."""
    optimizer = RMSProp(1.0, decay=1.0, eps=1.0, clip_value=0.6)
    np.testing.assert_allclose(updates_of(optimizer, (G1,))[0], [-0.5, 0.6], rtol=1e-6)
    both = RMSProp(1.0, decay=1.0, eps=1.0, clip_value=0.6, clip_norm=0.5)
    expected = np.array([-0.5, 0.6]) * 0.5 / np.hypot(0.5, 0.6)
    np.testing.assert_allclose(updates_of(both, (G1,))[0], expected, rtol=1e-6)
    adam = updates_of(Adam(0.1, b1=0.0, b2=0.0, eps=1.0, clip_value=0.6), (G1,))[0]
    np.testing.assert_allclose(adam, [-0.1 * 0.5 / 1.5, 0.1 * 0.6 / 1.6], rtol=1e-5)


def test_weight_decay_of_matrices_alone():
    """No gradient: the update is -lr decay w where w is decayed. A bias of stacked layers is none, nor a gain."""
    params = {
        "dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
        "layers": {"kernel": jnp.ones((4, 2, 3)), "bias": jnp.ones((4, 3))},
        "norm": {"scale": jnp.ones((4, 3))},
        "tokens": {"embedding": jnp.ones((5, 2))},
    }
    grads = jax.tree.map(jnp.zeros_like, params)
    for make in (Adam, Adamax):
        chain = make(0.1, weight_decay=0.2, decay="matrices").build()
        found, _ = chain.update(grads, chain.init(params), params)
        for path, update in jax.tree_util.tree_leaves_with_path(found):
            decayed = path[-1].key in ("kernel", "embedding")
            np.testing.assert_allclose(update, -0.02 if decayed else 0.0, rtol=1e-6)
    chain = Adam(0.1, weight_decay=0.2).build()
    found, _ = chain.update(grads, chain.init(params), params)
    np.testing.assert_allclose(found["dense"]["bias"], -0.02, rtol=1e-6)


def test_schedules_by_hand():
    """`t` counts from 1 in the inverse root, from 0 in the warm-up, which begins at 0."""
    inverse = InverseSqrt(0.5, 16, 4).build()
    found = [float(inverse(t - 1)) for t in (1, 2, 4, 9)]
    np.testing.assert_allclose(found, [0.125 / 8, 0.25 / 8, 0.125 / 2, 0.125 / 3], rtol=1e-6)
    constant = WarmupConstant(0.4, 4).build()
    found = [float(constant(t)) for t in (0, 1, 4, 5, 99)]
    np.testing.assert_allclose(found, [0, 0.1, 0.4, 0.4, 0.4], rtol=1e-6)
    assert float(WarmupConstant(0.4, 0).build()(0)) == pytest.approx(0.4)
    for wrong in (InverseSqrt(1.0, 0, 4), InverseSqrt(1.0, 4, 0), WarmupConstant(1.0, -1)):
        with pytest.raises(InputError, match="must be at least"):
            wrong.build()


def test_every_schedule_follows_the_steps():
    """Twenty of a thousand steps: the same course in proportion, of an inverse root the same peak."""
    for rate, expected in {
        WarmupCosine(1.0, 100): WarmupCosine(1.0, 2),
        WarmupConstant(1.0, 100): WarmupConstant(1.0, 2),
        PiecewiseConstant((0.2, 0.1), (500, 500)): PiecewiseConstant((0.2, 0.1), (10, 10)),
        ExponentialDecay(1.0, 0.5): ExponentialDecay(1.0, 0.5),
    }.items():
        short = overridden(experiment(Adamax(rate)), ["steps=20"])
        assert short.optimizer == Adamax(expected)
        assert planned_steps(short.optimizer, 20) == [20]
        short.transformation()
    inverse = InverseSqrt(0.7, 64, 400)
    groups = OptimizerGroups(("a", "b"), (Optax("sgd", {}, inverse), Adam(inverse)))
    for one in overridden(experiment(groups), ["steps=20"]).optimizer.optimizers:
        short = one.learning_rate
        assert (short.width, short.warmup) == (64, 8)
        for t in (1, 8, 18):  # rate'(t) = rate(50 t), the peak at 8 and 400 among them
            found, expected = short.build()(t - 1), inverse.build()(50 * t - 1)
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert overridden(experiment(Adam(inverse)), ["steps=5000"]).optimizer == Adam(inverse)
    told = overridden(experiment(Adam(inverse)), ["steps=20", "optimizer.learning_rate.warmup=3"])
    assert told.optimizer.learning_rate.warmup == 3


def skipping(grads, skip_above):
    """States and metrics of steps whose gradient is given: the loss is w x."""

    def loss(variables, x, key, cond):
        mean = jnp.mean(x, axis=0)
        updated = {"schedule": variables["schedule"], "batch_stats": mean}
        return variables["params"] @ mean, ({}, updated)

    unused: Any = None
    params, model = jnp.asarray(W), Functional(unused, unused, loss, unused, unused)
    chain = Adam(0.1, b1=0.8, b2=0.9, eps=1e-3).build()
    collections = {"schedule": jnp.zeros((), int), "batch_stats": jnp.zeros(2)}
    state = TrainState(jnp.zeros((), int), params, params, chain.init(params), collections)
    step: Any = functools.partial(train_step, model=model, optimizer=chain, key=jax.random.key(0))
    run = jax.jit(functools.partial(step, ema=0.5, skip_above=skip_above))
    for g in grads:
        state, metrics = run(state, {"x": jnp.asarray(g)[None], "cond": None})
        yield state, metrics


def test_a_step_with_a_large_gradient_changes_nothing():
    """Weights, average, moments and statistics by hand; NaN and an infinite norm are skipped too, steps are counted."""
    grads = (G1, 100 * G1, np.array([np.nan, 0.1]), np.array([np.inf, 0.0]), G2)
    w, average, m, v, count, seen = W, W, np.zeros(2), np.zeros(2), 0, np.zeros(2)
    for t, (g, (state, metrics)) in enumerate(zip(grads, skipping(grads, 2.5), strict=True)):
        skip = t in (1, 2, 3)
        assert (float(metrics["skipped"]), int(state.step)) == (skip, t + 1)
        if not skip:
            count, seen = count + 1, g
            m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
            update = -0.1 * m / (1 - 0.8**count) / (np.sqrt(v / (1 - 0.9**count)) + 1e-3)
            w, decay = w + update, min(0.5, (1 + t) / (10 + t))
            average = decay * average + (1 - decay) * w
        np.testing.assert_allclose(state.params, w, rtol=1e-5)
        np.testing.assert_allclose(state.ema, average, rtol=1e-5)
        np.testing.assert_allclose(optax.tree.get(state.opt_state, "mu"), m, rtol=1e-5)
        np.testing.assert_allclose(state.collections["batch_stats"], seen, rtol=1e-6)
        assert int(state.collections["schedule"]) == t + 1
        norm = 0.0 if skip else np.linalg.norm(update)
        np.testing.assert_allclose(metrics["update_norm"], norm, rtol=1e-4)
    everything = list(skipping(grads[:2], None))
    assert "skipped" not in everything[0][1]
    assert np.any(everything[1][0].params != everything[0][0].params)


def test_skipped_steps_are_no_part_of_the_means():
    """Nor do they stop a run, unless there are a hundred in a row."""
    split = Split("some", "1.0.0", "train", np.zeros((8, 2), np.uint8), None, binary(2), 0)
    of = program.Program(experiment(skip_above=0.5), split)

    def call(first, skipped):
        loss = [np.nan if skip else 2.0 + i for i, skip in enumerate(skipped)]
        rows = {"loss": loss, "param_norm": np.ones(len(loss)), "skipped": skipped}
        return first, {name: jnp.array(row, float) for name, row in rows.items()}

    means = {"skipped": 0.5, "loss": 3.0, "param_norm": 1.0}
    assert of.means([call(0, [0, 1, 0, 1])]) == (4, {**means, "skipped": 0.5})
    assert of.means([call(4, [1] * 98)]) == (102, {"skipped": 1.0})
    assert of.means([call(102, [0])])[0] == 103
    of.means([call(103, [1] * 99)])
    words = "the 100 steps up to step 202 were all skipped: .* skip_above = 0.5 or not finite; more"
    with pytest.raises(FloatingPointError, match=words):
        of.means([call(202, [1])], "; more")
    with pytest.raises(FloatingPointError, match="not finite at step 9"):
        of.means([(9, {**call(9, [1])[1], "skipped": jnp.zeros(1)})])


def test_a_run_in_which_all_is_skipped_stops():
    x = np.ones((16, 2), int)  # whose gradient is far from zero
    told: list = []
    with pytest.raises(FloatingPointError, match="the 100 steps up to step 99 were all skipped"):
        gen_jax.fit(
            FVSBN(binary(2)), x, steps=200, batch_size=8, skip_above=1e-9,
            callback=lambda *row: told.append(row),
        )  # fmt: skip
    assert told[-1][:2] == (90, {"train/skipped": 1.0})
    with pytest.raises(InputError, match="skip_above must be positive, not 0"):
        experiment(skip_above=0.0)


def test_a_group_may_take_one_step_of_several():
    """At every third step the parameters of g move as under Adam on these gradients alone; those of d always move."""
    adam, grads = Adam(0.1, b1=0.5), np.random.default_rng(0).normal(size=(6, 2, 2))
    chain = OptimizerGroups(("g", "d"), (adam, adam), every=(3, 1)).build()
    tree = {name: {"w": jnp.asarray(W)} for name in ("g", "d")}
    state, found = chain.init(tree), []
    for g, d in grads:
        given: Any = {"g": {"w": jnp.asarray(g)}, "d": {"w": jnp.asarray(d)}}
        update: Any
        update, state = chain.update(given, state, tree)
        found.append([np.asarray(update[name]["w"]) for name in ("g", "d")])
    of_g, of_d = map(np.stack, zip(*found, strict=True))
    np.testing.assert_allclose(of_d, updates_of(adam, grads[:, 1]), rtol=1e-6)
    np.testing.assert_allclose(of_g[2::3], updates_of(adam, grads[2::3, 0]), rtol=1e-6)
    assert not of_g[[0, 1, 3, 4]].any()


def test_the_steps_of_a_group():
    """A schedule counts the steps that its group takes, and must last as long as training."""
    timed = OptimizerGroups(
        ("g", "d"), (Adam(WarmupCosine(0.1, 2, 10)), Adam(WarmupCosine(0.1, 2))), every=(5, 1)
    )
    assert planned_steps(timed, 60) == [50, 60]
    for every in ((1,), (0, 1)):
        with pytest.raises(InputError, match="a number of at least 1 for each group"):
            OptimizerGroups(("g", "d"), (Adam(), Adam()), every=every).build()
