"""Latent models in training and on the command line: collapse is reported, draws and data are named, refusals."""

import functools
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture that applies by itself

from gen_jax import (
    VAE,
    Autoencoder,
    Independent,
    InputError,
    PixelVAE,
    functional,
    image,
    points,
    sharding,
)
from gen_jax.data import prepared
from gen_jax.data.batches import Batches
from gen_jax.density import fold_in
from gen_jax.evaluate import draw
from gen_jax.experiment import Data, Evaluate, Experiment, read
from gen_jax.included import CONFIGS
from gen_jax.models.latent.losses import KLTerm
from gen_jax.nn.encoders import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from gen_jax.optimizer import Adam
from gen_jax.runs import results
from gen_jax.runs.likelihood import Likelihoods, Result
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop

DIGITS = image(8, 8, levels=17)
SMALL = {"latent": 2, "encoder": DenseEncoder((8,)), "decoder": DenseDecoder((8,))}


def experiment(model, **changes):
    fields = {
        "model": model,
        "data": Data("digits"),
        "optimizer": Adam(1e-2),
        "steps": 4,
        "batch_size": 16,
        "ema": 0.0,
        "evaluate": Evaluate(every=2, batch_size=128, draws=3, validation_draws=2),
    }
    return Experiment(**(fields | changes))


def trained(path, data_dir, model, **changes):
    workdir = WorkDir(path)
    loop.train(experiment(model, **changes), workdir, data_dir)
    return [row for row in workdir.metrics_rows() if row["split"] == "validation"]


@pytest.fixture(scope="module")
def vae(tmp_path_factory, data_dir):
    path = tmp_path_factory.mktemp("runs") / "vae"
    trained(path, data_dir, VAE(DIGITS, mixtures=2, **SMALL))
    return path


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory, data_dir):
    path = tmp_path_factory.mktemp("runs") / "autoencoder"
    rows = trained(path, data_dir, Autoencoder(DIGITS, **SMALL))
    assert [set(row) for row in rows] == 2 * [
        {"step", "split", "seconds", "squared_error", "squared_error_per_dim"}
    ]
    return path


def test_a_run_begins_at_the_marginals_of_its_first_examples(data_dir, tmp_path):
    """`init_examples` of the training set, and not the first batch, decide the output's bias."""
    model = VAE(DIGITS, data_bias=True, **SMALL)
    changes = {"optimizer": Adam(0.0), "steps": 1, "init_examples": 1000, "batch_size": 504}
    trained(tmp_path / "run", data_dir, model, **changes)
    x = Batches(prepared.load("digits", "train", data_dir), 504, seed=0).first(1000)["x"]
    shares = np.mean(x.reshape(1008, 64, 1) == np.arange(17), axis=0)
    bias = load_run(tmp_path / "run").variables["params"]["decoder"]["Dense_1"]["bias"]
    expected = np.log(np.clip(shares, 0.001, 0.999)).ravel()
    np.testing.assert_allclose(bias, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("term", "collapses"), [(KLTerm(beta=200.0), True), (KLTerm(beta=200.0, free_bits=2.0), False)]
)
def test_collapse_is_named_once_and_free_bits_prevent_it(
    term, collapses, data_dir, tmp_path, monkeypatch
):
    """A KL of 200 times its weight: no active units and one warning; with a floor of 2 nats neither."""
    warnings = []
    monkeypatch.setattr(loop.LOG, "warning", lambda text, *of: warnings.append(text % of))
    model = VAE(DIGITS, kl=term, **SMALL)
    judge = Evaluate(every=50, batch_size=128, examples=128)
    rows = trained(tmp_path / "run", data_dir, model, steps=200, evaluate=judge)
    last = rows[-1]
    assert {"kl", "reconstruction", "active_units", "nats", "bits_per_dim"} < set(last)
    named = [line for line in warnings if "posterior collapse" in line]
    if collapses:
        assert (last["kl"] < 0.1, last["active_units"]) == (True, 0)
        assert len(named) == 1
        assert "none of 2 units active" in named[0]
    else:
        assert 1.5 < last["kl"] < 4
        assert last["active_units"] > 0
        assert not named


def test_an_untrained_vector_is_hardly_noise_to_the_pixels():
    """At initialisation log p(x | z) differs by 0.03 nats from z to z, by 0.35 if V began at the scale of a layer."""
    sizes = {"depth": 3, "features": 16, "head_features": 16, "encoder": DenseEncoder((8,))}
    model = PixelVAE(image(4, 4, levels=3), latent=8, **sizes)
    x = jax.random.randint(jax.random.key(0), (1, 4, 4, 1), 0, 3).repeat(64, axis=0)
    variables = model.init(jax.random.key(1), x, jax.random.key(2), method="loss")
    z = jax.random.normal(jax.random.key(3), (64, 8))
    assert jnp.std(model.apply(variables, x, z, method="log_likelihood")) < 0.1


def test_evaluate_says_draws_and_data(vae, data_dir, tmp_path):
    """Draws of the config, or of the option; another data set than the one trained on; more draws are tighter."""
    root = tmp_path / "data"
    for name in ("digits", "twin"):
        shutil.copytree(data_dir / "digits", root / name)

    def evaluate(*options):
        printed = succeed("evaluate", vae, "--data-dir", root, "--json", *options)
        return json.loads(printed)

    few, other = evaluate(), evaluate("--draws", 50, "--data", "twin")
    assert (few["draws"], other["draws"], few["value"]) == (3, 50, "bound")
    assert other["nats"] < few["nats"]
    assert few["protocol"].endswith("example once; 3 draws an example, 2 at validation")
    assert other["dataset"] == "twin"
    assert results.protocol(read(other["config"]), few["steps"]) == other["protocol"]
    said = "; trained and selected on digits; 50 draws an example, 2 at validation"
    assert other["protocol"].endswith(said)
    assert json.loads((vae / "result.json").read_text()) == other


def test_a_bound_is_printed_as_one():
    nats = np.array([2.0, 4.0])
    assert str(Result(nats, DIGITS, "bound", 1)).endswith("(<= 3.00 nats), bound of 1 draw")
    assert str(Result(nats, DIGITS, "bound", 5000)).endswith("bound of 5,000 draws")


def test_the_evaluated_bound_is_the_models(vae, data_dir):
    run = load_run(vae)
    split = prepared.load("digits", "test", data_dir)
    key = jax.random.key(0)
    found = Likelihoods(run.model, run.mesh, 400, key, 5)(run.variables, split, 16).per_example
    key = fold_in(fold_in(key, "evaluate"), 0)
    rows = np.where(np.arange(sharding.filled(400, run.mesh)) < 16, np.arange(400), 0)
    bound = jax.jit(functools.partial(run.model.log_prob, draws=5))
    expected = bound(run.variables, split.x[rows], key)[:16]
    np.testing.assert_allclose(found, -expected, rtol=1e-5)


def test_an_exact_model_takes_no_draws(data_dir, tmp_path):
    trained(tmp_path / "run", data_dir, Independent(DIGITS), steps=2)
    status, out, err = call("evaluate", tmp_path / "run", "--draws", 3, "--data-dir", data_dir)
    assert (status, out) == (2, "")
    assert err == "gen-jax: log_prob of independent is exact: it takes no --draws\n"


def test_an_autoencoder_has_no_number_and_no_samples(autoencoder, data_dir, tmp_path):
    """One sentence each; its report shows reconstructions and says why there are no samples."""
    for words, command in {
        "Autoencoder has no likelihood: there is no bits/dim to evaluate": ("evaluate",),
        "an autoencoder has no distribution over its codes": (
            "sample",
            "--out",
            tmp_path / "x.png",
        ),
        "Autoencoder has no likelihood: there is nothing to certify": ("certify",),
    }.items():
        name, *options = command
        where = () if name == "sample" else ("--data-dir", data_dir)
        status, out, err = call(name, autoencoder, *options, *where)
        assert (status, out) == (2, "")
        assert words in err
        assert "--distances" not in err  # which would refuse: there are no samples
        assert err.count("\n") == 1
    page = tmp_path / "report.html"
    succeed("report", autoencoder, "--out", page, "--data-dir", data_dir)
    text = page.read_text()
    assert ">Reconstructions</h2>" in text
    assert "None: an autoencoder has no distribution over its codes" in text
    assert "autoencoder has no likelihood, so there is no number.<" in text


def test_a_vae_samples_and_reports(vae, data_dir, tmp_path):
    out = tmp_path / "x.npz"
    succeed("sample", vae, "--num", 5, "--out", out)
    with np.load(out) as arrays:
        [x] = [arrays[name] for name in arrays.files]
    assert x.shape == (5, 8, 8, 1)
    assert x.max() <= 16
    page = tmp_path / "report.html"
    succeed("report", vae, "--out", page, "--data-dir", data_dir)
    assert ">Reconstructions</h2>" in page.read_text()


@pytest.mark.usefixtures("x64")
def test_a_linear_autoencoder_finds_the_principal_components():
    """Its squared error is the sum of the dropped eigenvalues of the covariance (Baldi and Hornik 1989)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=(60, 5))
    x = jnp.asarray(np.clip(np.round(20 * x + 100), 0, 200), jnp.int32)
    model = Autoencoder(image(1, 5, 1, 201), 2, DenseEncoder(()), DenseDecoder(()))
    x = x.reshape(60, 1, 5, 1)
    pure, optimizer = functional(model), optax.adam(optax.cosine_decay_schedule(0.03, 3000))
    params = pure.init(jax.random.key(0), x)["params"]

    def step(_, carry):
        params, state = carry
        grads = jax.grad(lambda p: pure.loss({"params": p}, x, jax.random.key(0))[0])(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    fit = jax.jit(lambda carry: jax.lax.fori_loop(0, 3000, step, carry))
    params, _ = fit((params, optimizer.init(params)))
    loss, (metrics, _) = pure.loss({"params": params}, x, jax.random.key(0))
    eigenvalues = np.linalg.eigvalsh(np.cov(np.asarray(x).reshape(60, 5).T / 200, bias=True))
    np.testing.assert_allclose(loss, eigenvalues[:-2].sum(), rtol=1e-3)
    np.testing.assert_allclose(metrics["squared_error_per_dim"], loss / 5)
    again = model.apply({"params": params}, x, jax.random.key(0), method="reconstruct")
    error = np.mean(np.sum((np.asarray(again) - x).reshape(60, 5) ** 2, axis=1)) / 200**2
    np.testing.assert_allclose(error, loss, rtol=0.1)


def test_a_convolutional_autoencoder_has_the_shapes():
    model = Autoencoder(image(8, 4, 3, 5), 3, ConvEncoder((4, 4)), ConvDecoder((4, 4)))
    x = jnp.zeros((2, 8, 4, 3), jnp.int32)
    variables = functional(model).init(jax.random.key(0), x)
    again = model.apply(variables, x, jax.random.key(0), method="reconstruct")
    assert again.shape == x.shape
    assert again.max() <= 4


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Autoencoder(points()), "model of integers"),
        (Autoencoder(DIGITS, latent=0), "latent must be at least 1"),
    ],
)
def test_impossible_autoencoders_are_refused(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functools.partial(functional(model).init, jax.random.key(0)), x)


def test_a_class_conditional_vae_on_the_command_line(data_dir, tmp_path):
    """`--set model.num_classes=10`: samples of a class, a report, files with labels."""
    run, tiny = tmp_path / "run", (
        "num_classes=10", "latent=2", "encoder.features=(4,)", "decoder.features=(4,)", "mixtures=2",
    )  # fmt: skip
    judge = ("every=2", "batch_size=360", "draws=2", "validation_draws=1")
    settings = [f"--set=model.{one}" for one in tiny] + [f"--set=evaluate.{one}" for one in judge]
    schedule = ("--set=steps=2", "--set=optimizer.learning_rate.steps=2")
    where = ("--workdir", run, "--data-dir", data_dir)
    schedule = (*schedule, "--set=optimizer.learning_rate.warmup=1")
    succeed("train", CONFIGS / "vae_digits.py", *settings, *schedule, *where)
    assert load_run(run).experiment.model.num_classes == 10

    out, back, file = (tmp_path / name for name in ("x.npz", "y.npz", "x.gjx"))
    succeed("sample", run, "--num", 6, "--label", 3, "--out", out)
    with np.load(out) as arrays:
        [x] = [arrays[name] for name in arrays.files]
    expected = draw.sample(load_run(run), 6, label=3)
    np.testing.assert_array_equal(x, expected)
    assert np.any(draw.sample(load_run(run), 6, label=4) != expected)
    np.savez(out, x=x, labels=np.arange(6))
    assert "initial" in succeed("compress", run, out, "-o", file)
    succeed("decompress", run, file, "-o", back)
    with np.load(back) as arrays:
        np.testing.assert_array_equal(arrays["x"], x)
        np.testing.assert_array_equal(arrays["labels"], np.arange(6))
    status, _, err = call("sample", run, "--label", 10, "--out", tmp_path / "z.png")
    assert (status, err.count("\n")) == (2, 1)
    page = tmp_path / "report.html"
    succeed("report", run, "--out", page, "--data-dir", data_dir)
    headings = re.findall("<h2[^>]*>(.*?)</h2>", page.read_text())
    assert {"Reconstructions", "KL of each unit"} <= set(headings)
