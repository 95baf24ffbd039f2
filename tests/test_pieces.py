"""Sequences of vectors of different lengths: import, training and evaluation without padding, the RNN-NADE."""

import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  its compilation cache

from gen_jax import MADE, NADE, RNNNADE, Independent, InputError, functional
from gen_jax.data import pieces
from gen_jax.data.batches import Batches
from gen_jax.data.importing import importer
from gen_jax.data.importing.importer import Options, import_files
from gen_jax.data.prepared import Data, Split, load
from gen_jax.density import root_key
from gen_jax.experiment import Evaluate, Experiment
from gen_jax.models.autoregressive import rnn_nade
from gen_jax.optimizer import Adam
from gen_jax.runs.likelihood import Likelihoods
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.sharding import device_mesh
from gen_jax.train import loop
from gen_jax.typing import Event

LENGTHS = {"train": (7, 3, 9, 4, 6), "valid": (5, 2), "test": (4, 11, 1)}
RNG = np.random.default_rng(0)
ROLLS = {name: RNG.integers(0, 2, (sum(n), 8)).astype(np.uint8) for name, n in LENGTHS.items()}
EVENT = Event((4, 8), 2)


def save(path, packed=True, **changed):
    """An .npz as published: bits of all steps, and the steps of each piece."""
    arrays = {}
    for name, roll in ROLLS.items():
        key = f"{name}_packed" if packed else name
        arrays[key] = np.packbits(roll, axis=1) if packed else roll
        arrays[f"{name}_lengths"] = np.array(LENGTHS[name], np.int32)
    arrays |= changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("pieces")
    import_files("rolls", [save(root / "rolls.npz")], Options(length=4), root / "data")
    return root / "data"


def test_every_step_is_in_one_window(data, tmp_path):
    """Pieces from their windows, without the padding, are the pieces of the file; packed or not."""
    for name, split in (("train", "train"), ("valid", "validation"), ("test", "test")):
        read, lengths = load("rolls", split, data), LENGTHS[name]
        assert (read.event, read.pieces, read.nats_per) == (EVENT, lengths, "step")
        assert len(read) == sum(-(-n // 4) for n in lengths)
        steps = read.sizes // 8
        whole = [x[:n] for x, n in zip(read.x, steps, strict=True)]
        np.testing.assert_array_equal(np.concatenate(whole), ROLLS[name])
        assert not any(x[n:].any() for x, n in zip(read.x, steps, strict=True))
        firsts = np.flatnonzero(read.begins)
        np.testing.assert_array_equal(np.add.reduceat(steps, firsts), lengths)
    packed, notes = importer.read([save(tmp_path / "a.npz")], Options(length=4))
    plain, _ = importer.read([save(tmp_path / "b.npz", packed=False)], Options(length=4))
    assert packed.pieces == plain.pieces
    for split, x in packed.x.items():
        np.testing.assert_array_equal(x, plain.x[split])
    assert notes[-1] == "10 pieces of 52 steps in windows of 4; 16 steps of padding are not counted"


def test_pieces_are_divided_whole(tmp_path):
    """A missing split is made of whole pieces."""
    only = dict.fromkeys(("valid_packed", "valid_lengths", "test_packed", "test_lengths"))
    path = save(tmp_path / "a.npz", **only)
    content, _ = importer.read([path], Options(length=4, split="train=3/5,validation=1/5,test=1/5"))
    assert content.pieces == {"train": [7, 3, 9], "validation": [4], "test": [6]}


@pytest.mark.parametrize(
    ("changed", "options", "sentence"),
    [
        ({"train_lengths": np.array([7, 3])}, {}, "has 29 steps, its lengths add up to 10"),
        ({"train_lengths": np.array([29, 0])}, {}, "'train_lengths' has a piece of 0 steps"),
        ({"train_lengths": np.array([29.0])}, {}, "float64 (1,); lengths are integers (pieces,)"),
        ({"train_lengths": None}, {}, "array 'train_packed' has no array of lengths beside it"),
        ({"test_packed": None}, {}, "array 'test_lengths' has no array of steps beside it"),
        ({"train": ROLLS["train"]}, {}, "has a split twice: train_packed, train"),
        ({"labels": np.zeros(3, int)}, {}, "array 'labels' is not a split of pieces"),
        ({"train_packed": np.zeros((29, 1))}, {}, "is float64; steps are bytes of np.packbits"),
        ({"train_packed": np.zeros(29, np.uint8)}, {}, "has shape (29,); it should be (steps, D)"),
        ({"test_packed": np.zeros((16, 2), np.uint8)}, {}, "has steps of different sizes"),
        ({}, {"tiles": 2}, "--tiles is for images, "),
        ({}, {"channels": "last"}, "--channels-last is for arrays of 4 axes"),
    ],
)
def test_refused_pieces(changed, options, sentence, tmp_path):
    path = save(tmp_path / "a.npz", **changed)
    with pytest.raises(InputError) as caught:
        importer.read([path], Options(**options))
    assert sentence in str(caught.value)


def test_a_length_is_for_sequences(tmp_path):
    np.savez(tmp_path / "a.npz", train=np.eye(3, dtype=int))
    with pytest.raises(
        InputError, match=r"--length is for text, sound and pieces, .* no \*_length"
    ):
        importer.read([tmp_path / "a.npz"], Options(length=4))


def model_of(**fields):
    return RNNNADE(EVENT, features=5, hidden=6, **fields)


def varied(model, rows=3):
    """Variables with noise, and whatever the model carries."""
    x = np.zeros((rows, *model.event.shape), np.int32)
    variables = functional(model).init(jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(variables["params"])
    noisy = [
        leaf + 0.5 * np.random.default_rng(i).normal(size=leaf.shape)
        for i, leaf in enumerate(leaves)
    ]
    return {**variables, "params": jax.tree.unflatten(tree, [x.astype(np.float32) for x in noisy])}


def by_hand(model, variables, piece):
    """Nats of a piece: a loop over steps and values in float64, h_t = tanh(...) of all steps before t."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    layer, sigma = p["layer"], lambda a: 1 / (1 + np.exp(-a))
    h, before, total = np.zeros(model.features), np.zeros(piece.shape[1]), 0.0
    for v in piece:
        a = before @ p["inputs"]["kernel"] + layer["input_bias"] + layer["bias"]
        h = np.tanh(a + h @ layer["kernel"])
        hidden = h @ p["to_hidden"]["kernel"] + p["to_hidden"]["bias"]
        bias = h @ p["to_outputs"]["kernel"] + p["to_outputs"]["bias"]
        for d, value in enumerate(v):
            one = sigma(bias[d] + p["out_kernel"][d, 0] @ sigma(hidden))
            total -= math.log(one if value else 1 - one)
            hidden = hidden + p["kernel"][d, 0] * value
        before = v
    return total


@pytest.mark.parametrize("streams", [1, 2, 3, 5])
def test_every_step_once_given_its_whole_past(data, streams):
    """The number of a split is that of a loop over its pieces, in any number of streams; the padding adds nothing."""
    model = model_of(carry=True)
    variables, split = varied(model), load("rolls", "test", data)
    ends = np.cumsum(LENGTHS["test"])[:-1]
    nats = [by_hand(model, variables, piece) for piece in np.split(ROLLS["test"], ends)]
    judge = Likelihoods(functional(model), device_mesh(8), streams, root_key(0))
    result = judge(variables, split)
    assert (result.num_examples, result.nats_per) == (16, "step")
    np.testing.assert_allclose(result.nats, sum(nats) / 16, rtol=1e-5)
    np.testing.assert_allclose(result.bits_per_dim, sum(nats) / (16 * 8 * math.log(2)), rtol=1e-5)
    per_piece = np.add.reduceat(result.per_example, np.flatnonzero(split.begins))
    np.testing.assert_allclose(per_piece, nats, rtol=1e-5)
    assert f"{result.nats:.4f} ± " in str(result)
    assert f" nats/step ({result.bits_per_dim:.4f} bits/dim), exact" in str(result)


def test_models_without_a_state_count_no_padding(data):
    """A NADE of whole windows: the sum over the steps of the pieces, whatever the padding holds."""
    split = load("rolls", "test", data)
    model = NADE(EVENT, hidden=3)
    variables = varied(model)
    judge = Likelihoods(functional(model), device_mesh(8), 4, root_key(0))
    result = judge(variables, split)
    log_prob = model.apply(variables, jnp.asarray(split.x), method="log_prob_sites")
    counted = (np.arange(4) < split.sizes[:, None] // 8)[..., None]
    log_prob = np.where(counted, log_prob.reshape(-1, 4, 8), 0)
    np.testing.assert_allclose(result.nats, -np.sum(log_prob) / 16, rtol=1e-6)
    noise = np.where(counted, split.x, RNG.integers(0, 2, split.x.shape))
    assert judge(variables, replace(split, x=noise.astype(np.uint8))).nats == result.nats


def test_the_loss_counts_no_padding():
    """The gradient is that of the steps alone: the same whatever the padding holds, and zero without any."""
    model = model_of()
    variables, f = varied(model), functional(model)
    x = RNG.integers(0, 2, (3, 4, 8))
    other = x.copy()
    other[:, 2:] = 1 - other[:, 2:]

    def loss(params, x, sizes):
        return f.loss({"params": params}, x, jax.random.key(0), sizes=jnp.array(sizes))[0]

    both = [jax.grad(loss)(variables["params"], v, [16, 16, 16]) for v in (x, other)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), *both)
    full, (metrics, _) = f.loss(variables, x, jax.random.key(0))
    np.testing.assert_allclose(loss(variables["params"], x, [32, 32, 32]), full, rtol=1e-6)
    _, (part, _) = f.loss(variables, x, jax.random.key(0), sizes=jnp.array([32, 8, 0]))
    sites = model.apply(variables, jnp.asarray(x), method="log_prob_sites")
    expected = -(sites[0].sum() + sites[1, :8].sum()) / (40 * math.log(2))
    np.testing.assert_allclose(part["bits_per_dim"], expected, rtol=1e-6)
    assert metrics.keys() == part.keys()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (NADE(EVENT, hidden=3, order_seed=0), "NADE visits the values in an order of its own"),
        (MADE(EVENT, hidden=(9,), order_seed=1), "MADE visits the values in an order of its own"),
        (Independent(EVENT), "Independent takes whole examples, and these are padded"),
    ],
)
def test_other_orders_have_no_first_steps(model, sentence):
    x = np.zeros((2, 4, 8), np.int32)
    f = functional(model)
    variables = f.init(jax.random.key(0), x)
    with pytest.raises(InputError, match=sentence):
        f.loss(variables, x, jax.random.key(0), sizes=jnp.array([8, 8]))


def test_streams_of_training_begin_with_each_piece(data):
    split = load("rolls", "train", data)
    batches = Batches(split, 2, seed=0, contiguous=True)
    for step in range(8):
        batch = batches.batch(step)
        rows = batches.indices(step)
        np.testing.assert_array_equal(batch["sizes"], split.sizes[rows])
        np.testing.assert_array_equal(batch["begins"], split.begins[rows] | (step % 4 == 0))
    assert "sizes" not in Batches(replace(split, pieces=()), 2, seed=0).batch(0)


def test_a_state_goes_on_inside_a_piece():
    """Windows with a carry are one long window, and a piece that begins is one alone."""
    model, long = model_of(carry=True), RNNNADE(Event((8, 8), 2), features=5, hidden=6)
    variables, x = varied(model, 2), jnp.asarray(RNG.integers(0, 2, (2, 8, 8)))
    whole = long.apply({"params": variables["params"]}, x, method="log_prob_sites")
    carry, parts = jax.tree.map(lambda a: 0 * a, variables["carry"]), []
    for window in (x[:, :4], x[:, 4:]):
        given = {**variables, "carry": carry}
        sites, after = model.apply(given, window, method="log_prob_sites", mutable=["carry"])
        carry = after["carry"]
        parts.append(sites)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-5)
    assert np.abs(parts[1] - model.apply(variables, x[:, 4:], method="log_prob_sites")).max() > 1e-3


def test_the_biases_come_from_the_steps_before(monkeypatch):
    """Planted: the state after step t, which has read step t, in place of the state before it."""
    model = model_of()
    variables, x = varied(model), RNG.integers(0, 2, (1, 4, 8)).astype(np.float32)

    def leaks():
        def nats(mask):
            values = jnp.asarray(x, jnp.int32)
            flipped = jnp.where(mask, 1 - values, values)
            return model.apply(variables, flipped)[0, :, 0]

        base = nats(jnp.zeros(x.shape, bool))
        found = 0
        for site in range(32):
            mask = jnp.zeros(32, bool).at[site].set(True).reshape(x.shape)
            found += int(jnp.sum(jnp.abs(nats(mask) - base)[: site + 1] > 1e-6))
        return found

    assert leaks() == 0
    over_time = rnn_nade.Layer.__call__

    def late(self, state, inputs, time):
        state, h = over_time(self, state, inputs, time)
        return state, jnp.concatenate([h[1:], h[-1:]])

    monkeypatch.setattr(rnn_nade.Layer, "__call__", late)
    assert leaks() > 0


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cell": "gated"}, "rnn_nade knows the cells rnn, lstm, gru, not 'gated'"),
        ({"event": Event((4,), 2)}, "needs events of two axes or more, steps first, not (4,)"),
        ({"hidden": 0}, "needs features >= 1, hidden >= 1 and dropout in [0, 1)"),
        ({"event": Event((4, 2))}, "model of integers"),
    ],
)
def test_impossible_networks_are_refused(fields, sentence):
    model = replace(model_of(), **fields)
    x = np.zeros((1, *model.event.shape), np.int32)
    with pytest.raises(InputError) as caught:
        functional(model).init(jax.random.key(0), x)
    assert sentence in str(caught.value)


def test_the_commands(data, tmp_path):
    """Train, evaluate and sample: the number is nats a step, recorded with the protocol; files are whole windows."""
    run = tmp_path / "run"
    experiment = Experiment(
        model=model_of(carry=True),
        data=Data("rolls"),
        optimizer=Adam(1e-2),
        steps=4,
        batch_size=8,
        evaluate=Evaluate(every=2, batch_size=2),
    )
    loop.train(experiment, WorkDir(run), data)
    printed = succeed("evaluate", run, "--data-dir", data)
    assert " nats/step (" in printed
    assert "exact, 16 steps, trained in" in printed
    record = json.loads((run / "result.json").read_text())
    assert (record["nats_per"], record["num_examples"]) == ("step", 16)
    assert "every step of every piece once, given its whole past in the piece" in record["protocol"]
    np.testing.assert_allclose(record["bits_per_dim"], record["nats"] / (8 * math.log(2)))
    result = load_run(run).likelihoods()(load_run(run).variables, load("rolls", "test", data))
    assert result.nats == record["nats"]
    succeed("sample", run, "--num", 2, "--out", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        [x] = arrays.values()
    assert x.shape == (2, 4, 8)
    succeed("sample", run, "--num", 1, "--length", 9, "--out", tmp_path / "long.npz")
    with np.load(tmp_path / "long.npz") as arrays:
        [x] = arrays.values()
    assert x.shape == (1, 9, 8)
    status, _, err = call("evaluate", run, "--data-dir", data, "--split", "tests")
    assert (status, err.count("\n")) == (2, 1)


def test_windows_of_pieces():
    """Against a loop over steps."""
    piece = RNG.integers(0, 5, (11, 3))
    rows = pieces.windows(piece, 4)
    assert rows.shape == (3, 4, 3)
    for t in range(12):
        np.testing.assert_array_equal(rows[t // 4, t % 4], piece[t] if t < 11 else 0)
    np.testing.assert_array_equal(pieces.steps((11, 4, 1), 4), [4, 4, 3, 4, 1])
    np.testing.assert_array_equal(pieces.begins((11, 4, 1), 4), [1, 0, 0, 1, 1])
    split = Split("a", "1.0.0", "train", rows, None, Event((4, 3), 5), 0, pieces=(11,))
    assert split.checksum != replace(split, pieces=(12,)).checksum
