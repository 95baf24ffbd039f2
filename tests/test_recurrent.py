"""Recurrent systems: cells against numpy in float64, truncated back-propagation, one pass over a text, prompts."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import build, random_events
from numpy.testing import assert_allclose, assert_array_equal

from gen_jax import GRU, LSTM, RNN, InputError, functional, sharding, tokens
from gen_jax.data.batches import Batches
from gen_jax.data.prepared import Split
from gen_jax.density import num_parameters
from gen_jax.runs.likelihood import Likelihoods
from gen_jax.runs.state import create_state
from gen_jax.train.step import train_step

KEY = jax.random.key(0)
TEXT = LSTM(tokens(4, 5), features=6, carry=True)


def sigma(x):
    return 1 / (1 + np.exp(-x))


def tanh_cell(state, a, u):
    return (np.tanh(a + u),)


def lstm_cell(state, a, u):
    i, f, g, o = np.split(a + u, 4, axis=-1)
    c = sigma(f) * state[1] + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def gru_cell(state, a, u):
    (a_r, a_z, a_n), (u_r, u_z, u_n) = np.split(a, 3, axis=-1), np.split(u, 3, axis=-1)
    r, z = sigma(a_r + u_r), sigma(a_z + u_z)
    return ((1 - z) * np.tanh(a_n + r * u_n) + z * state[0],)


CELLS = {RNN: (tanh_cell, 1), LSTM: (lstm_cell, 2), GRU: (gru_cell, 1)}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("system", CELLS)
def test_two_layers_step_by_step_in_numpy(system):
    """Logits of each character from one-hot inputs, layer by layer and step by step."""
    model = system(tokens(5, 3), features=4)
    _, variables = build(model)
    x, (cell, states) = random_events(model, 6), CELLS[system]
    params, x = jax.jit(model.apply)(variables, x), np.asarray(x)
    p = jax.tree.map(np.asarray, variables["params"])
    weights = [p["symbols"]["embedding"], p["inputs_0"]["kernel"]]
    state = [(np.zeros((6, 4)),) * states] * 2
    for t in range(5):
        value = np.eye(3)[x[:, t - 1]] if t else np.zeros((6, 3))
        for i, w in enumerate(weights):
            layer = p[f"layers_{i}"]
            u = state[i][0] @ layer["kernel"] + layer["bias"]
            state[i] = cell(state[i], value @ w + layer["input_bias"], u)
            value = state[i][0]
        logits = value @ p["logits"]["kernel"] + p["logits"]["bias"]
        assert_allclose(params[:, t], logits, rtol=1e-12)


def test_the_parameters_of_char_rnn():
    """Its log says 240321 for two layers of 128 LSTM cells on Tiny Shakespeare; here forget gates begin open too."""
    model = LSTM(tokens(50, 65), carry=True)
    params = jax.jit(functional(model).init)(KEY, jnp.zeros((1, 50), jnp.int32))["params"]
    assert num_parameters(model, {"params": params}) == 240_321
    assert_array_equal(params["layers_1"]["input_bias"], np.repeat([0.0, 1.0, 0.0, 0.0], 128))
    kernel = np.asarray(params["layers_0"]["kernel"])
    assert_allclose(kernel @ kernel.T, 4 * np.eye(128), atol=1e-4)


def windows(model, whole, count):
    """A text as consecutive windows, and variables whose carry is at the start of a stream."""
    pure, variables = build(model)
    x = np.asarray(random_events(whole, 3))
    return jax.jit(pure.loss), variables, np.split(x, count, axis=1), x, nothing(pure, 3)


def nothing(pure, rows):
    """The carry at the start of the streams."""
    x = jnp.zeros((rows, *pure.model.event.shape), jnp.int32)
    shapes = jax.eval_shape(pure.init, KEY, x)["carry"]
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.mark.usefixtures("x64")
def test_windows_with_a_carry_are_one_long_window():
    """Loss, and the state at the end."""
    long = LSTM(tokens(12, 5), features=6, carry=True)
    loss_of, variables, parts, x, carry = windows(TEXT, long, 3)
    whole = jax.jit(functional(long).loss)
    expected, (_, end) = whole({**variables, "carry": carry}, x, KEY)
    losses = []
    for part in parts:
        loss, (_, updated) = loss_of({**variables, "carry": carry}, part, KEY)
        carry = updated["carry"]
        losses.append(loss)
    assert_allclose(np.mean(losses), expected, rtol=1e-12)
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-12), carry, end["carry"])
    alone = loss_of({**variables, "carry": jax.tree.map(jnp.zeros_like, carry)}, parts[1], KEY)[0]
    assert abs(alone - losses[1]) > 1e-3  # the carry matters


@pytest.mark.usefixtures("x64")
def test_gradients_stop_at_the_edge():
    """A window's gradient is that with the state before it held fixed; the untruncated one differs."""
    long = LSTM(tokens(8, 5), features=6, carry=True)
    loss_of, variables, (first, second), x, carry = windows(TEXT, long, 2)
    _, (_, given) = loss_of({**variables, "carry": carry}, first, KEY)
    params = variables["params"]

    def truncated(params, carry):
        return loss_of({"params": params, "carry": carry}, second, KEY)[0]

    @jax.jit
    def whole(params):
        sites = long.apply({"params": params}, jnp.asarray(x), method="log_prob_sites")
        return -jnp.mean(sites[:, 4:])

    assert_allclose(whole(params), truncated(params, given["carry"]), rtol=1e-12)
    both = jax.jit(jax.grad(truncated, argnums=(0, 1), allow_int=True))
    gradient, of_carry = both(params, given["carry"])
    for leaf in jax.tree.leaves(of_carry):
        assert leaf.dtype == jax.dtypes.float0 or not np.any(leaf)
    full = jax.grad(whole)(params)["layers_0"]["kernel"]
    assert np.abs(full - gradient["layers_0"]["kernel"]).max() > 1e-3

    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)
    plus, minus = (
        truncated(optax.tree.add_scale(params, step, direction), given["carry"])
        for step in (1e-6, -1e-6)
    )
    along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)))
    assert_allclose(along, (plus - minus) / 2e-6, rtol=1e-6)


def numbered(count, length=4, rest=0):
    """Windows of the text 0, 1, 2, ... modulo 5."""
    text = np.arange(count * length + rest) % 5
    x = text[: count * length].reshape(count, length).astype(np.uint8)
    left = tuple(text[count * length :].tolist())
    return Split("probe", "1.0.0", "test", x, None, tokens(length, 5), 0, rest=left)


def test_rows_are_contiguous_streams():
    """Row b of the next batch continues row b; all rows start again together; every example occurs."""
    batches, seen = Batches(numbered(23), 4, seed=2, contiguous=True), set()
    for step in range(60):
        rows, batch = batches.indices(step), batches.batch(step)
        seen |= set(rows.tolist())
        assert_array_equal(batch["x"], batches.split.x[rows])
        assert_array_equal(np.diff(rows), 5)
        assert_array_equal(batch["begins"], np.full(4, step % 5 == 0))
        if step % 5:
            assert_array_equal(rows, batches.indices(step - 1) + 1)
    assert seen == set(range(23))
    again = Batches(numbered(23), 4, seed=2, contiguous=True)
    assert_array_equal(again.indices(37), batches.indices(37))
    assert Batches(numbered(23), 4, seed=2).batch(0).keys() == {"x", "cond"}


def test_a_stream_begins_with_nothing():
    """A row that starts a stream has the loss and state of a fresh one, whatever its carry; other rows continue."""
    pure, optimizer, x = functional(TEXT), optax.sgd(0.0), np.asarray(random_events(TEXT, 2))
    batch = {"x": x, "cond": None, "begins": np.array([True, True])}
    state = jax.jit(functools.partial(create_state, pure, optimizer, KEY))(batch)
    step = jax.jit(functools.partial(train_step, model=pure, optimizer=optimizer, key=KEY, ema=0.9))
    once, first = step(state, batch)
    again, same = step(once, batch)
    assert same["loss"] == first["loss"]
    half, _ = step(once, {**batch, "begins": np.array([True, False])})
    c = lambda state: np.asarray(state.collections["carry"]["kept"]["state"].states[0][1])  # noqa: E731
    assert_array_equal(c(again), c(once))
    assert_array_equal(c(half)[0], c(once)[0])
    assert np.all(c(half)[1] != c(once)[1])


def evaluated(pure, variables, split, streams, limit=None):
    evaluate = Likelihoods(pure, sharding.device_mesh(8), streams, KEY)
    return evaluate({**variables, "carry": nothing(pure, 1)}, split, limit)


@functools.cache
def long_log_prob(length):
    return jax.jit(functional(LSTM(tokens(length, 5), features=6)).log_prob)


@pytest.mark.parametrize("streams", [1, 3, 40])
def test_every_character_once_in_order(streams):
    """23 windows and three characters that fill none: each stream is one long sequence from its beginning."""
    pure, variables = build(TEXT)
    split = numbered(23, rest=3)
    result = evaluated(pure, variables, split, streams)
    text, length = np.append(split.x, np.array(split.rest, np.uint8)), 4 * -(-24 // streams)
    assert len(text) == 95
    expected = 0.0
    for first in range(0, len(text), length):
        part = jnp.asarray(text[None, first : first + length])
        expected -= float(long_log_prob(part.size)(variables, part)[0])
    assert len(result.per_example) == 24
    assert_allclose(result.per_example.sum(), expected, rtol=1e-5)
    assert_allclose(result.bits_per_dim, expected / (95 * math.log(2)), rtol=1e-5)
    limited = evaluated(pure, variables, split, 1, limit=7)
    assert_allclose(limited.per_example, evaluated(pure, variables, split, 1).per_example[:7], 1e-6)


@pytest.mark.parametrize("rest", [0, 1, 3])
def test_a_uniform_model_needs_log2_of_the_levels(rest):
    """For each of the text's characters, no more and no fewer; and no character deviates from the mean."""
    pure, variables = build(TEXT)
    result = evaluated(pure, jax.tree.map(jnp.zeros_like, variables), numbered(23, rest=rest), 2)
    assert_allclose(result.per_example.sum(), (92 + rest) * math.log(5), rtol=1e-6)
    assert_allclose(result.bits_per_dim, math.log2(5), rtol=1e-6)
    assert result.stderr < 1e-6


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"features": 0}, "features >= 1"),
        ({"depth": 0}, "depth >= 1"),
        ({"dropout": 1.0}, "dropout in"),
    ],
)
def test_impossible_sizes_are_refused(sizes, sentence):
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(GRU(tokens(4, 5), **sizes)).init, KEY, jnp.zeros((1, 4), int))
