"""The train step: averages, accumulation, devices, compilations."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import GAN, GatedPixelCNN, InputError, functional, image, sharding
from gen_jax.density import fold_in
from gen_jax.optimizer import (
    L2,
    Adam,
    ExponentialDecay,
    OptimizerGroups,
    PiecewiseConstant,
    RMSProp,
    Setting,
    WarmupCosine,
    following,
)
from gen_jax.runs.state import create_state
from gen_jax.train import step
from gen_jax.train.step import train_step, train_steps

MODEL = GatedPixelCNN(image(4, 4, 1, 3), depth=1, features=4, first_kernel=3, head_features=4)
KEY = jax.random.key(0)


def batch(n=16, seed=0):
    return {"x": jax.random.randint(jax.random.key(seed), (n, 4, 4, 1), 0, 3), "cond": None}


def parts(optimizer, model=MODEL, ema=0.9, accumulate=1):
    pure = functional(model)
    state = jax.jit(functools.partial(create_state, pure, optimizer, KEY))(batch())
    one = functools.partial(
        train_step, model=pure, optimizer=optimizer, key=KEY, ema=ema, accumulate=accumulate
    )
    return state, one


def test_average_starts_at_the_initialisation_and_warms_up():
    """ema_t = d ema + (1 - d) params with d = min(decay, (1 + t) / (10 + t)), by hand."""
    state, one = parts(optax.sgd(0.1), ema=0.15)
    chex.assert_trees_all_equal(state.ema, state.params)
    kernel = lambda tree: np.asarray(tree["logits"]["kernel"], np.float64)  # noqa: E731
    expected = kernel(state.params)
    run = jax.jit(one)
    for t in range(3):
        state, _ = run(state, batch(seed=t))
        decay = min(0.15, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * kernel(state.params)
    np.testing.assert_allclose(kernel(state.ema), expected, rtol=1e-5, atol=1e-7)
    assert np.any(expected != kernel(state.params))


@pytest.mark.parametrize("count", [2, 4])
def test_accumulated_gradients_are_those_of_the_batch(count):
    """Compared by an SGD step, which Adam's scale invariance cannot hide."""
    state, one = parts(optax.sgd(1.0))
    _, several = parts(optax.sgd(1.0), accumulate=count)
    whole, metrics = jax.jit(one)(state, batch())
    split, split_metrics = jax.jit(several)(state, batch())
    chex.assert_trees_all_close(split.params, whole.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(split_metrics["loss"], metrics["loss"], rtol=1e-6)


def test_eight_devices_have_the_gradients_of_one():
    """SGD on a batch split over eight devices and on one device."""
    assert jax.device_count() == 8
    state, one = parts(optax.sgd(1.0))
    alone, _ = jax.jit(one)(state, batch())
    mesh = sharding.device_mesh(16)
    placed = jax.device_put(state, sharding.state_sharding(state, mesh))
    together, _ = jax.jit(one)(placed, sharding.put(jax.device_get(batch()), mesh, sharding.ROWS))
    chex.assert_trees_all_close(together.params, alone.params, rtol=1e-5, atol=1e-6)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), alone.params, state.params)
    assert min(jax.tree.leaves(moved)) > 1e-5
    used = {device for leaf in jax.tree.leaves(together.params) for device in leaf.devices()}
    assert len(used) == 8


def test_a_scanned_call_is_the_same_steps(monkeypatch):
    """Three steps in one `lax.scan`, as on accelerators, and three calls give the same state."""
    optimizer = Adam(1e-2).build()
    state, one = parts(optimizer)
    batches = [batch(seed=t) for t in range(3)]
    run = jax.jit(one)
    single = state
    for rows in batches:
        single, _ = run(single, rows)
    stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *batches)
    for unrolled in (True, False):
        monkeypatch.setattr(step, "unrolled", lambda unrolled=unrolled: unrolled)
        together, metrics = jax.jit(functools.partial(train_steps, step=one))(state, stacked)
        assert metrics["loss"].shape == (3,)
        chex.assert_trees_all_close(together.params, single.params, rtol=1e-4, atol=1e-6)


def test_compiles_once():
    state, one = parts(Adam(1e-3).build())
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(lambda *args: one(*args), n=1))
    for t in range(3):
        state, _ = run(state, batch(seed=t))
    assert int(state.step) == 3


def test_noise_is_a_function_of_name_and_step():
    assert jnp.array_equal(
        jax.random.key_data(fold_in(KEY, "a")), jax.random.key_data(fold_in(KEY, "a"))
    )
    keys = [fold_in(KEY, "a"), fold_in(KEY, "b"), fold_in(KEY, 0), fold_in(KEY, 1)]
    assert len({jax.random.key_data(key).tobytes() for key in keys}) == 4


def test_dropout_masks_differ_from_step_to_step_and_row_to_row():
    model = GatedPixelCNN(
        image(4, 4, 1, 3), depth=1, features=4, first_kernel=3, head_features=4, dropout=0.5
    )
    state, one = parts(optax.sgd(0.0), model)
    run, losses = jax.jit(one), []
    for _ in range(3):
        state, metrics = run(state, batch())
        losses.append(float(metrics["loss"]))
    assert len(set(losses)) == 3
    same = jnp.tile(batch()["x"][:1], (8, 1, 1, 1))
    rows = model.apply({"params": state.params}, same, train=True, rngs={"dropout": KEY})
    assert len(np.unique(np.asarray(rows).reshape(8, -1), axis=0)) == 8


def test_epsilon_inside_the_root():
    """update = -lr m / (sqrt(v + eps_root) + eps), first step by hand: m = g, v = g^2 after bias correction."""
    grads, params = {"w": jnp.array([1e-3, -2.0])}, {"w": jnp.zeros(2)}
    optimizer = Adam(0.1, eps=0.0, eps_root=1e-4).build()
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    g = np.array([1e-3, -2.0])
    np.testing.assert_allclose(updates["w"], -0.1 * g / np.sqrt(g**2 + 1e-4), rtol=1e-5)


def test_epsilon_hat_and_second_moments_from_one():
    """Two steps of -lr a m / (sqrt(v) + eps_hat), a = sqrt(1 - b2^t) / (1 - b1^t), m from 0 and v from 1."""
    optimizer = Adam(0.1, b1=0.8, b2=0.9, eps=0.0, eps_hat=1e-2, second_moment=1.0).build()
    params, m, v = {"w": jnp.zeros(2)}, np.zeros(2), np.ones(2)
    state = optimizer.init(params)
    for t, g in enumerate((np.array([0.5, -2.0]), np.array([1e-3, 0.1])), start=1):
        updates, state = optimizer.update({"w": jnp.asarray(g)}, state, params)
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        a = np.sqrt(1 - 0.9**t) / (1 - 0.8**t)
        np.testing.assert_allclose(updates["w"], -0.1 * a * m / (np.sqrt(v) + 1e-2), rtol=1e-5)


def test_constants_are_in_the_unit_of_a_stated_loss():
    """A loss in nats per dimension, per example or per batch of 3: epsilon, norm and penalty scale accordingly."""
    setting = Setting.of(MODEL, batch_size=3, steps=10)
    assert (setting.example, setting.batch) == (16.0, 48.0)
    params, g = {"w": {"scale": jnp.array([2.0, 1.0])}}, np.array([1e-4, -2e-2])
    for unit, factor in (("loss", 1), ("example", 16), ("batch", 48)):
        optimizer = Adam(0.1, eps=0.01, clip_norm=0.5, unit=unit, l2=L2(0.05, ("scale",)))
        chain = optimizer.build(setting)
        updates, _ = chain.update({"w": {"scale": jnp.asarray(g)}}, chain.init(params), params)
        penalised = factor * g + 0.1 * np.array([2.0, 1.0])
        clipped = penalised * min(1.0, 0.5 / np.linalg.norm(penalised))
        expected = -0.1 * clipped / (np.abs(clipped) + 0.01)
        np.testing.assert_allclose(updates["w"]["scale"], expected, rtol=1e-5)
    chain = RMSProp(0.1, decay=0.0, eps=0.5, unit="batch").build(setting)
    updates, _ = chain.update({"w": jnp.asarray(g)}, chain.init({"w": g}), {"w": g})
    np.testing.assert_allclose(updates["w"], -0.1 * 48 * g / (48 * np.abs(g) + 0.5), rtol=1e-5)


def test_a_unit_that_the_loss_does_not_have_is_refused():
    refused = "optimizer.unit is 'batch', but the model's loss is not in nats"
    with pytest.raises(InputError, match=refused):
        OptimizerGroups(("generator",), (Adam(unit="batch"),)).build(
            Setting.of(GAN(image(4, 4)), 8, 2)
        )
    with pytest.raises(InputError, match="no parameter is named magnitude"):
        Adam(l2=L2(1.0, ("magnitude",))).build().init({"scale": jnp.zeros(2)})


def test_rmsprop_by_hand():
    """Two steps of update = -lr g / (sqrt(v) + eps), v = 0.9 v + 0.1 g^2 from zero."""
    optimizer, params = RMSProp(0.1, eps=1e-3).build(), {"w": jnp.zeros(2)}
    state, v = optimizer.init(params), np.zeros(2)
    for g in (np.array([0.5, -2.0]), np.array([1.0, 0.1])):
        updates, state = optimizer.update({"w": jnp.asarray(g)}, state, params)
        v = 0.9 * v + 0.1 * g**2
        np.testing.assert_allclose(updates["w"], -0.1 * g / (np.sqrt(v) + 1e-3), rtol=1e-5)


def test_groups_have_their_own_optimisers():
    """SGD-like first steps of Adam: each group moves by its own rate. Names that do not fit are refused."""
    params = {"a": {"w": jnp.zeros(2)}, "b": {"w": jnp.zeros(3)}}
    grads = jax.tree.map(lambda x: x + 2.0, params)
    optimizer = OptimizerGroups(("a", "b"), (Adam(0.1), RMSProp(0.5, decay=0.75))).build()
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"]["w"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(updates["b"]["w"], -1.0, rtol=1e-5)
    with pytest.raises(InputError, match="names are a, b, the parameters are a"):
        optimizer.init({"a": params["a"]})
    for names in (("a",), ("a", "a")):
        with pytest.raises(InputError, match="one entry per group"):
            OptimizerGroups(names, (Adam(), Adam())).build()


def test_schedules_take_other_lengths():
    """Shorter: the same course in proportion. Longer: the same warm-up. Stages of no step are left out."""
    cosine = WarmupCosine(1.0, 50, 1800)
    assert cosine.resized(1800, 900) == WarmupCosine(1.0, 25, 900)
    assert cosine.resized(1800, 3600) == WarmupCosine(1.0, 50, 3600)
    assert WarmupCosine(1.0, 9, 10).resized(10, 1) == WarmupCosine(1.0, 0, 1)
    assert WarmupCosine(1.0, 50).resized(1800, 900) == WarmupCosine(1.0, 25)
    stages = PiecewiseConstant((0.3, 0.2, 0.1), (10, 30, 90))
    assert stages.resized(130, 13) == PiecewiseConstant((0.3, 0.2, 0.1), (1, 3, 9))
    assert stages.resized(130, 2) == PiecewiseConstant((0.2, 0.1), (1, 1))
    assert stages.resized(130, 260).steps == 260
    both = OptimizerGroups(("a", "b"), (Adam(cosine), RMSProp(ExponentialDecay(1.0, 0.5))))
    assert following(both, 1800, 900).optimizers[0].learning_rate == cosine.resized(1800, 900)
    assert following(Adam(cosine), 1000, 900) == Adam(cosine)  # it was of another length before


def test_schedules():
    cosine, decay = WarmupCosine(1.0, 10, 110, 0.1).build(), ExponentialDecay(2.0, 0.5).build()
    np.testing.assert_allclose(
        [cosine(0), cosine(5), cosine(10), cosine(60), cosine(110)],
        [0, 0.5, 1, 0.55, 0.1],
        rtol=1e-6,
    )
    np.testing.assert_allclose([decay(0), decay(1), decay(3)], [2.0, 1.0, 0.25], rtol=1e-6)
    stages = PiecewiseConstant((0.3, 0.2, 0.1), (1, 3, 9))
    found = [stages.build()(step) for step in (0, 1, 3, 4, 12, 99)]
    np.testing.assert_allclose(found, [0.3, 0.2, 0.2, 0.1, 0.1, 0.1], rtol=1e-6)
    assert stages.steps == 13
    open_ended = WarmupCosine(1.0, 10, end=0.1).build(110)
    np.testing.assert_allclose([open_ended(t) for t in (5, 60, 110)], [0.5, 0.55, 0.1], rtol=1e-6)
    with pytest.raises(InputError, match="no experiment to take it from"):
        WarmupCosine(1.0, 10).build()
    for wrong in (
        PiecewiseConstant((0.1,), (1, 2)),
        PiecewiseConstant((), ()),
        PiecewiseConstant((0.1,), (0,)),
    ):
        with pytest.raises(InputError, match="as many lengths"):
            wrong.build()
    clipped = Adam(1.0, b1=0.0, clip_norm=1.0).build()
    assert clipped.init({"w": jnp.zeros(2)}) is not None
