"""Importance-sampled times: the history row by row, probabilities, an unbiased loss, resumption to the same bits."""

import collections
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, random_events
from test_ddpm import MODELS, Dense

from gen_jax import DDPM, ImportanceTimes, InputError, image
from gen_jax.data.batches import Batches
from gen_jax.density import bits_per_dim
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.diffusion import ddpm
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop

STEPS, TIMES = 4, ImportanceTimes(3, 0.01)
STATE = jnp.array(
    [[3.0, 1.0, 2.0, 9.0], [0.1, 0.2, 0.1, 3.0], [0.0, -0.5, 0.1, 4.0], [0.0, 0.0, 0.0, 3.0]]
)


def test_probabilities(x64):
    """The root of the mean square of the last losses, and a little of all times; uniform while a time lacks losses."""
    size = np.sqrt(np.mean(np.asarray(STATE[:, :3]) ** 2, axis=1))
    expected = 0.99 * size / size.sum() + 0.01 / STEPS
    np.testing.assert_allclose(np.exp(TIMES.log_probabilities(STATE)), expected)
    for young in (STATE.at[1, 3].set(2.0), TIMES.start(STEPS), 0 * STATE + 3 * (STATE == 3)):
        p = np.exp(TIMES.log_probabilities(young))
        assert p.sum() == pytest.approx(1)
        if np.any(np.asarray(young)[:, 3] < 3):
            np.testing.assert_allclose(p, 1 / STEPS)


def test_draws(x64):
    """Times follow their probabilities; a weight is 1 / (T p)."""
    n = 20_000
    t, weight = TIMES.draw(STATE, jax.random.key(0), n)
    p = np.exp(TIMES.log_probabilities(STATE))
    share = np.bincount(t, minlength=STEPS + 1) / n
    assert share[0] == 0
    assert np.all(np.abs(share[1:] - p) < 4.5 * np.sqrt(p / n))
    np.testing.assert_allclose(weight, 1 / (STEPS * p[np.asarray(t) - 1]))


def test_the_history_is_that_of_single_losses(x64):
    """The last three losses at each time, in their order, also where a time occurs often in a batch."""
    rng, state = np.random.default_rng(0), TIMES.start(STEPS)
    last = [collections.deque([0.0] * 3, maxlen=3) for _ in range(STEPS)]
    counts = np.zeros(STEPS)
    for _ in range(3):
        t, losses = rng.integers(1, STEPS, 6), rng.normal(size=6)
        state = TIMES.recorded(state, jnp.asarray(t), jnp.asarray(losses))
        for place, loss in zip(t - 1, losses, strict=True):
            last[place].append(loss)
            counts[place] += 1
    np.testing.assert_array_equal(state, np.column_stack([np.array(last), counts]))


def unbiased(name, objective):
    """Whether the loss's mean over keys is that of all times, each alone."""
    model = MODELS[name].clone(times=TIMES, objective=objective)
    pure, variables = build(model)
    variables = {**variables, "statistics": {"losses": STATE}}
    x, number = random_events(model, 4), 6000
    keys = jax.random.split(jax.random.key(1), number)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: pure.loss(variables, x, key)[0]))(keys))

    def alone(t, key):
        noise = jax.random.normal(key, x.shape, jnp.float64)
        return model.apply(variables, x, jnp.full(4, t), noise, True, method="term")

    some = jax.jit(jax.vmap(lambda key: jnp.stack([jnp.stack(alone(t, key)) for t in range(1, 5)])))
    terms, errors = np.moveaxis(np.asarray(some(keys)), 2, 0)  # each: key, t, example
    bits = terms.sum(axis=1) + np.asarray(model.apply(variables, x, method="prior_term"))
    bound = np.asarray(bits_per_dim(jnp.asarray(bits), model.event)).mean(axis=1)
    simple = errors.mean(axis=(1, 2))
    each = {"simple": simple, "bound": bound, "hybrid": simple + ddpm.HYBRID * bound}[objective]
    error = math.hypot(drawn.std(), each.std()) / math.sqrt(number)
    assert error < 0.1 * abs(each.mean())
    return abs(drawn.mean() - each.mean()) < 4.5 * error


@pytest.mark.parametrize(
    ("name", "objective"), [("beta", "simple"), ("beta", "bound"), ("learned", "hybrid")]
)
def test_the_loss_is_unbiased(x64, name, objective):
    assert unbiased(name, objective)


def test_a_forgotten_weight_is_caught(x64, monkeypatch):
    right = ImportanceTimes.draw
    monkeypatch.setattr(ImportanceTimes, "draw", lambda *a: (right(*a)[0], jnp.ones(a[3])))
    assert not unbiased("beta", "bound")


def test_the_loss_records_what_it_is(x64):
    """The state after a step holds the loss of each time that was drawn; evaluation leaves it alone."""
    model = MODELS["beta"].clone(times=TIMES, objective="bound")
    pure, variables = build(model)
    variables = {**variables, "statistics": {"losses": TIMES.start(STEPS)}}
    _, (metrics, updated) = pure.loss(variables, random_events(model, 16), jax.random.key(0))
    state = np.asarray(updated["statistics"]["losses"])
    assert state[:, 3].sum() == 16
    _, other = model.apply(
        variables, random_events(model, 2), jax.random.key(0), method="log_prob", mutable=True
    )
    np.testing.assert_array_equal(other["statistics"]["losses"], TIMES.start(STEPS))
    prior = np.asarray(model.apply(variables, random_events(model, 16), method="prior_term"))
    t, _ = TIMES.draw(TIMES.start(STEPS), ddpm.fold_in(jax.random.key(0), "t"), 16)
    last = [state[i - 1, 2] for i in sorted(set(np.asarray(t).tolist()))]
    assert np.all(np.asarray(last) != 0)
    if len(last) == 16:
        assert metrics["bits_per_dim"] == pytest.approx(np.mean(last) + prior.mean())


def test_states_of_devices_average_to_a_state(x64):
    """As merged under a mapped axis: still probabilities."""
    t, losses = jnp.array([1, 1, 4]), jnp.array([0.5, 2.0, 1.0])
    merged = (TIMES.recorded(STATE, t, losses) + TIMES.recorded(STATE, t + 0 * t, 2 * losses)) / 2
    assert float(jnp.exp(TIMES.log_probabilities(merged)).sum()) == pytest.approx(1)


def test_a_resumed_run_has_the_same_bits(data_dir, tmp_path, monkeypatch):
    """Weights and history; by then the times are no longer uniform."""
    model = DDPM(image(8, 8, levels=17), Dense(), 4, times=ImportanceTimes(2), objective="bound")
    judge = Evaluate(every=4, batch_size=16, examples=16)
    experiment = Experiment(
        model=model, data=Data("digits"), steps=8, batch_size=16, evaluate=judge
    )
    undisturbed = loop.train(experiment, WorkDir(tmp_path / "one"), data_dir)
    workdir, batch = WorkDir(tmp_path / "two"), Batches.batch

    def stop(self, at, mine=slice(None)):
        if at == 6:
            raise KeyboardInterrupt
        return batch(self, at, mine)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "batch", stop)
        with pytest.raises(KeyboardInterrupt):
            loop.train(experiment, workdir, data_dir)
    resumed = loop.train(experiment, workdir, data_dir)
    chex.assert_trees_all_equal(jax.device_get(resumed), jax.device_get(undisturbed))
    state = np.asarray(resumed.collections["statistics"]["losses"])
    assert state[:, -1].sum() == 8 * 16
    assert np.ptp(model.times.log_probabilities(jnp.asarray(state))) > 0.1


def test_impossible_values_are_refused():
    for values in ((0, 0.1), (10, 0.0), (10, 1.5)):
        with pytest.raises(InputError, match="history >= 1 and 0 < uniform <= 1"):
            ImportanceTimes(*values)
