"""`fit` and `load`: the known optimum, the bits of a run, folders that the commands read, refusals."""

import dataclasses
import json
import logging

import jax
import numpy as np
import optax
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture that applies by itself

import gen_jax
from gen_jax import (
    MADE,
    VAE,
    Adam,
    Data,
    DenseDecoder,
    DenseEncoder,
    Evaluate,
    Experiment,
    FullTable,
    GatedPixelCNN,
    InputError,
    WaveNet,
    binary,
    fingerprint,
    image,
    sound,
)
from gen_jax.data import prepared
from gen_jax.models.flow.real_nvp import RealNVP
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop
from gen_jax.train.validation import unimproved

SMALL = GatedPixelCNN(
    image(8, 8, levels=17), depth=1, features=4, head_features=4, first_kernel=3, dropout=0.2
)
SETTINGS = {"steps": 12, "optimizer": Adam(1e-2, clip_norm=1.0), "batch_size": 16, "ema": 0.9}
EVENTS = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
COUNTS = np.array([5, 1, 2, 8, 3, 3, 1, 9])


@pytest.fixture(scope="module")
def digits(data_dir):
    return prepared.load("digits", "train", data_dir).x


@pytest.fixture(scope="module")
def fitted(digits):
    return gen_jax.fit(SMALL, digits, seed=3, **SETTINGS)


def same(one, other) -> bool:
    """Whether all leaves are equal bit for bit."""
    equal = jax.tree.map(lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)), one, other)
    return all(jax.tree.leaves(equal))


def test_a_masked_autoencoder_learns_the_frequencies():
    """KL(frequencies || model) of 32 three-bit words falls to 0: MADE with enough units holds any distribution."""
    x = np.repeat(EVENTS, COUNTS, axis=0)
    model = MADE(binary(3), hidden=(32,))
    fitted = gen_jax.fit(model, x, steps=150, optimizer=Adam(5e-2), batch_size=32, ema=0.9)
    frequencies = COUNTS / 32
    kl = np.sum(frequencies * (np.log(frequencies) - fitted.log_prob(EVENTS)))
    assert 0 <= kl < 1e-3
    np.testing.assert_allclose(np.exp(fitted.log_prob(EVENTS)).sum(), 1, rtol=1e-5)
    entropy = -np.sum(frequencies * np.log2(frequencies)) / 3
    assert fitted.bits_per_dim(x) == pytest.approx(entropy, abs=1e-3)
    assert str(fitted.evaluate(x)).endswith("nats), exact")


def test_counting_takes_one_pass():
    """A table of counts after an epoch is the counts, each with the pseudo-count of its class."""
    x = np.repeat(EVENTS, COUNTS, axis=0)
    fitted = gen_jax.fit(FullTable(binary(3)), x, steps=4, batch_size=8)
    expected = (COUNTS + 1) / (32 + 8)
    np.testing.assert_allclose(np.exp(fitted.log_prob(EVENTS)), expected, rtol=1e-5)
    drawn = fitted.sample(4000, seed=1)
    shares = np.bincount(drawn @ [4, 2, 1], minlength=8) / 4000
    assert np.all(np.abs(shares - expected) < 5 * np.sqrt(expected / 4000))


def test_the_seed_decides_every_bit(fitted, digits):
    again = gen_jax.fit(SMALL, digits.astype(np.int32), seed=3, **SETTINGS)
    assert same(again.variables, fitted.variables)
    assert again.history == fitted.history
    other = gen_jax.fit(SMALL, digits, seed=4, **SETTINGS)
    assert not same(other.variables, fitted.variables)


def test_a_run_of_the_same_experiment_ends_on_the_same_bits(fitted, tmp_path, data_dir):
    """The logged rows are the same too."""
    experiment = Experiment(model=SMALL, data=Data("digits"), seed=3, **SETTINGS)
    state = loop.train(experiment, workdir := WorkDir(tmp_path / "run"), data_dir)
    assert same(state.ema, fitted.variables["params"])
    rows = [row for row in workdir.metrics_rows() if row["split"] == "train"]
    for row in rows:
        del row["seconds"]
    assert rows == [*fitted.history]


def test_what_is_saved_is_loaded_bit_for_bit(fitted, digits, tmp_path):
    fitted.save(tmp_path / "one")
    loaded = gen_jax.load(str(tmp_path / "one"))
    assert loaded.model == SMALL
    assert loaded.step == 12
    assert loaded.history == fitted.history
    np.testing.assert_array_equal(loaded.log_prob(digits[:40]), fitted.log_prob(digits[:40]))
    np.testing.assert_array_equal(loaded.sample(9, seed=2), fitted.sample(9, seed=2))
    loaded.save(tmp_path / "two")
    assert same(gen_jax.load(tmp_path / "two").variables, fitted.variables)
    with pytest.raises(InputError, match="two exists; export to a new folder"):
        loaded.save(tmp_path / "two")
    with pytest.raises(InputError, match="one exists; save to a new folder"):
        fitted.save(tmp_path / "one")


def test_the_commands_read_what_is_saved(fitted, digits, tmp_path, data_dir):
    """Samples, files and numbers are the same; without a data set there is one sentence."""
    folder, out = tmp_path / "model", tmp_path / "samples.npz"
    fitted.save(folder)
    succeed("sample", folder, "--num", 5, "--seed", 7, "--out", out)
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["samples"], fitted.sample(5, seed=7))
    (tmp_path / "x.gjx").write_bytes(fitted.compress(digits[:5]))
    succeed("decompress", folder, tmp_path / "x.gjx", "-o", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        np.testing.assert_array_equal(arrays["x"], digits[:5])
    named = ("--data", "digits", "--data-dir", data_dir, "--json")
    record = json.loads(succeed("evaluate", folder, *named))
    test = prepared.load("digits", "test", data_dir).x
    assert record["nats"] == fitted.evaluate(test).nats
    assert record["protocol"].endswith("; trained on arrays in memory")
    assert "best on" not in record["protocol"]
    assert "the laws hold" in succeed(
        "certify", folder, "--data", "digits", "--examples", 2, "--data-dir", data_dir
    )
    for command in (("evaluate", folder), ("certify", folder)):
        status, _, err = call(*command, "--data-dir", data_dir)
        assert status == 2
        assert err == (
            "gen-jax: the model was trained on arrays in memory, which are not stored: name a prepared data set with"
            " --data\n"
        )


def test_a_work_directory_loads_and_fit_gives_its_bits(tmp_path, data_dir, digits):
    """Both with the best weights by validation, two validations after which no improvement ends the training.

    A run that ended so does not go on.
    """
    settings = SETTINGS | {"optimizer": Adam(1.0), "steps": 400}
    judge = Evaluate(every=4, patience=2)
    experiment = Experiment(model=SMALL, data=Data("digits"), evaluate=judge, **settings)
    state = loop.train(experiment, workdir := WorkDir(tmp_path / "run"), data_dir)
    loaded = gen_jax.load(workdir.path)
    rows = [row for row in loaded.history if row["split"] == "validation"]
    best = min(rows, key=lambda row: row["nats"])
    assert (loaded.step, int(state.step)) == (best["step"], best["step"] + 8)
    validation = prepared.load("digits", "validation", data_dir).x
    assert loaded.evaluate(validation).nats == pytest.approx(best["nats"], rel=1e-6)
    fitted = gen_jax.fit(SMALL, digits, validation=validation, every=4, patience=2, **settings)
    assert fitted.step == loaded.step
    assert same(fitted.variables, loaded.variables)
    without = [{k: v for k, v in row.items() if k != "seconds"} for row in loaded.history]
    assert [*fitted.history] == without
    before = workdir.metrics.read_bytes()
    assert int(loop.train(experiment, workdir, data_dir).step) == int(state.step)
    assert workdir.metrics.read_bytes() == before
    with pytest.raises(InputError, match="patience needs validation examples"):
        gen_jax.fit(SMALL, digits, patience=2, **settings)


def test_a_trained_model_is_loaded_by_name(tmp_path, monkeypatch):
    """Its weights are those of its certificate; a folder of the same name comes first."""
    monkeypatch.chdir(tmp_path)
    loaded = gen_jax.load("gated_pixel_cnn_digits")
    certificate = json.loads(loaded.trained.workdir.certificate.read_text())
    assert certificate["parameters"] == fingerprint.of_variables(loaded.variables)
    with pytest.raises(InputError, match=r"model .did you mean gated_pixel_cnn_digits"):
        gen_jax.load("gated_pixel_cnn_digit")
    (tmp_path / "gated_pixel_cnn_digits").mkdir()
    with pytest.raises(InputError, match=r"it has no config\.json"):
        gen_jax.load("gated_pixel_cnn_digits")


def test_features_are_blocks_or_latents(fitted, digits):
    """The mean over places of a block's output; of a flow, z with log p(x) = log N(z) + log |det|."""
    x = jax.numpy.asarray(digits[:5])
    _, shown = SMALL.apply(fitted.variables, x, mutable=["intermediates"])
    [block] = [leaf for leaf in jax.tree.leaves(shown) if leaf.ndim == 4]
    expected = np.asarray(block, np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(fitted.features(x), expected, rtol=1e-5)
    np.testing.assert_array_equal(fitted.features(x, block=1), fitted.features(x))
    with pytest.raises(InputError, match="has blocks 1 to 1, not 2"):
        fitted.features(x, block=2)
    points = np.random.default_rng(0).normal(size=(64, 2))
    flow = gen_jax.fit(RealNVP(depth=2, hidden=(4,)), points, steps=2)
    z, _ = flow.model.apply(flow.variables, jax.numpy.float32(points[:3]), method="forward")
    np.testing.assert_allclose(flow.features(points[:3]), z, rtol=1e-5)
    table = gen_jax.fit(FullTable(binary(3)), EVENTS, steps=1, batch_size=8)
    with pytest.raises(InputError, match="shows no blocks"):
        table.features(EVENTS)


def test_classes_are_learnt_drawn_and_coded(digits, tmp_path):
    """Images of class k are all of level k: each class draws, codes and scores its own."""
    labels = np.arange(64) % 3
    x = np.broadcast_to(labels[:, None, None, None], (64, 2, 2, 1))
    model = GatedPixelCNN(
        image(2, 2, levels=3), num_classes=3, depth=1, features=8, head_features=8
    )
    settings = {"optimizer": Adam(2e-2), "batch_size": 64, "ema": 0.5}
    fitted = gen_jax.fit(model, x, cond=labels, steps=100, **settings)
    assert np.all(fitted.log_prob(x[:3], labels[:3]) > -0.1)
    assert np.all(fitted.log_prob(x[:3], (labels[:3] + 1) % 3) < -4)
    assert np.all(fitted.sample(6, cond=2, temperature=1e-3) == 2)
    drawn = fitted.sample(6, cond=[0, 0, 1, 1, 2, 2], temperature=1e-3)
    np.testing.assert_array_equal(drawn[:, 0, 0, 0], [0, 0, 1, 1, 2, 2])
    kept = np.zeros((2, 2, 1), bool)
    kept[0, 0] = True
    np.testing.assert_array_equal(fitted.complete(x[:6], kept, cond=labels[:6]), x[:6])
    arrays = fitted.decompress(fitted.compress(x[:6], labels[:6]))
    np.testing.assert_array_equal(arrays["x"], x[:6])
    np.testing.assert_array_equal(arrays["labels"], labels[:6])
    with pytest.raises(InputError, match="GatedPixelCNN has 3 classes and needs one for each"):
        gen_jax.fit(model, x, steps=1)


def test_a_condition_goes_along(tmp_path):
    """A WaveNet of local features: x follows the feature before it."""
    rng = np.random.default_rng(0)
    features = rng.integers(0, 2, (64, 2, 1)).astype(np.float32)
    x = np.repeat(features[..., 0].astype(int) * 2, 4, axis=1)
    model = WaveNet(sound(8, 3), local=1, hop=4, cycles=1, depth=2, features=6)
    settings = {"optimizer": Adam(3e-2), "batch_size": 64, "ema": 0.5}
    fitted = gen_jax.fit(model, x, cond=features, steps=60, **settings)
    assert fitted.log_prob(x, features).mean() > fitted.log_prob(x, 1 - features).mean() + 2
    np.testing.assert_array_equal(fitted.sample(64, cond=features, temperature=1e-3), x)
    fitted.save(tmp_path / "model")
    loaded = gen_jax.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.log_prob(x, features), fitted.log_prob(x, features))


def test_a_bound_takes_draws_and_reals_have_nats():
    """More draws are tighter on average; the same call gives the same noise."""
    x = np.repeat(EVENTS, COUNTS, axis=0)
    dense = {"encoder": DenseEncoder((8,)), "decoder": DenseDecoder((8,))}
    vae = gen_jax.fit(VAE(binary(3), latent=1, **dense), x, steps=8, batch_size=8)
    one, many = vae.evaluate(x), vae.evaluate(x, draws=200)
    assert one.nats == vae.evaluate(x).nats > many.nats
    assert str(many).startswith("<= ")
    flow = gen_jax.fit(
        RealNVP(depth=2, hidden=(4,)), np.random.default_rng(0).normal(size=(64, 2)), steps=2
    )
    assert flow.bits_per_dim([[0.0, 1.0]]) is None
    assert flow.sample(3).shape == (3, 2)
    with pytest.raises(InputError, match="takes no --draws"):
        flow.log_prob([[0.0, 1.0]], draws=2)


def test_a_callback_sees_metrics_and_weights(fitted, digits):
    """Every ten steps and at the end; it changes no bit, and the weights that it is given stay."""
    told = []
    settings = {"seed": 3, **SETTINGS}
    again = gen_jax.fit(SMALL, digits, callback=lambda *all: told.append(all), **settings)
    assert [step for step, _, _ in told] == [10, 12]
    for (step, metrics, _), row in zip(told, fitted.history, strict=True):
        assert {"step": step, "split": "train"} | {
            name.removeprefix("train/"): value for name, value in metrics.items()
        } == row
    assert same(told[-1][2], again.variables)
    assert same(again.variables, fitted.variables)
    assert not same(told[0][2], told[1][2])


def test_any_optax_transformation_trains(fitted, digits, tmp_path, data_dir):
    """The bits of the same optimiser as a value; what no record holds trains no work directory."""
    update = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
    settings = SETTINGS | {"optimizer": update, "seed": 3}
    again = gen_jax.fit(SMALL, digits, **settings)
    assert same(again.variables, fitted.variables)
    again.save(tmp_path / "model")
    loaded = gen_jax.load(tmp_path / "model")
    assert same(loaded.variables, fitted.variables)
    with pytest.raises(InputError, match="was made in Python, which no record holds"):
        loaded.trained.experiment.transformation()
    experiment = dataclasses.replace(again.trained.experiment, data=Data("digits"))
    with pytest.raises(InputError, match="was made in Python"):
        loop.train(experiment, WorkDir(tmp_path / "run"), data_dir)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"optax\.chain cannot make an update"):
        gen_jax.fit(SMALL, digits, **(settings | {"optimizer": optax.lbfgs(0.1)}))


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([3.0, 2.0, 1.0], None),
        ([3.0, 1.0, 2.0], None),
        ([1.0, 2.0, 3.0], 10),
        ([2.0, 1.0, float("nan"), 3.0], 20),
        ([1.0, 1.0, 1.0], None),  # the last of equals counts: it is the one that is kept
        ([float("nan")] * 3, None),
    ],
)
def test_patience_counts_validations_after_the_best(values, best):
    """Validations after the present step, which a damaged checkpoint leaves behind, do not count."""
    validations = {10 * (i + 1): value for i, value in enumerate(values)}
    judge = Evaluate(every=10, patience=2)
    done = max(validations)
    assert unimproved(validations | {done + 10: 0.0}, done, judge) == best
    assert unimproved(validations, done, Evaluate(every=10)) is None


@dataclasses.dataclass(frozen=True)
class Mine:
    """An optimiser that no other process can import."""

    accumulate: int = 1

    def build(self):
        return optax.sgd(0.1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": np.zeros((4, 8, 8, 1))}, "examples are float64, the model is of integers 0..16"),
        ({"x": np.full((4, 8, 8, 1), 17)}, "values run from 17 to 17"),
        ({"x": np.zeros((0, 8, 8, 1), int)}, "there are no examples"),
        ({"x": np.zeros((8, 8, 1), int)}, "one of them is x[None]"),
        ({"batch_size": 2000}, "batch_size 2000 exceeds the 1079 examples of train"),
        ({"steps": 0}, "number of steps is a whole number of at least 1, not 0"),
        ({"cond": np.zeros(1079, int)}, "GatedPixelCNN is not conditional: it takes no cond"),
        ({"seed": -1}, "seed must lie in [0, 2^32), not -1"),
        (
            {"optimizer": "adam"},
            "optimizer is a str without build and accumulate: give a value such as Adam",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(digits, changes, sentence):
    settings = {"model": SMALL, "x": digits, **SETTINGS, **changes}
    with pytest.raises(InputError) as refusal:
        gen_jax.fit(settings.pop("model"), settings.pop("x"), **settings)
    assert sentence in str(refusal.value)


def test_a_loss_that_is_not_finite_ends_the_training(digits):
    with pytest.raises(FloatingPointError, match="not finite at step 0; its batch is examples"):
        gen_jax.fit(SMALL, digits, **(SETTINGS | {"optimizer": Adam(1e30)}))


def test_nothing_is_written_of_what_could_not_be_read_back(digits, tmp_path, monkeypatch, caplog):
    """A class of a notebook trains in memory; a warning before, and saving, say why it cannot be kept."""
    monkeypatch.setattr(Mine, "__module__", "__main__")
    monkeypatch.setattr(logging.getLogger("gen_jax"), "propagate", True)
    fitted = gen_jax.fit(SMALL, digits, **(SETTINGS | {"steps": 1, "optimizer": Mine()}))
    assert "the result cannot be saved: Mine is defined in a notebook or script" in caplog.text
    with pytest.raises(InputError, match="Mine"):
        fitted.save(tmp_path / "model")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_what_is_no_model_is_not_loaded(path, tmp_path):
    with pytest.raises(InputError, match="is not a work directory"):
        gen_jax.load(str(tmp_path / path))
