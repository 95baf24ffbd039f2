"""Certificates: a trained model passes, each planted fault is caught, a stale certificate is reported as stale."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, conditions, random_events
from test_cli import call, own_cache, succeed  # noqa: F401

from gen_jax import (
    GAN,
    GatedPixelCNN,
    InputError,
    Markov,
    PixelCNN,
    PixelCNNPP,
    binary,
    fingerprint,
    image,
    points,
)
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.heads import Categorical, LogisticMixture
from gen_jax.laws import autoregressive as laws
from gen_jax.laws import certificate, codec
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.models.autoregressive import pixelwise
from gen_jax.nn import causal_conv, masked_conv
from gen_jax.ops.convolution import convolve
from gen_jax.report import page as report
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

SMALL = {"depth": 1, "features": 6, "first_kernel": 3, "head_features": 6}
GREY = GatedPixelCNN(image(3, 4, 1, 3), **SMALL)
COLOUR = PixelCNNPP(image(2, 2, 3, 4), features=4, resnets=1, resolutions=1, mixtures=2)
EXPERIMENT = Experiment(
    model=GatedPixelCNN(image(8, 8, 1, 17), **SMALL),
    data=Data("digits"),
    steps=2,
    batch_size=8,
    evaluate=Evaluate(2, 360),
)
TRY = ("--examples", "3")


@pytest.fixture(scope="module")
def model(data_dir, tmp_path_factory):
    """A trained, certified, evaluated and then exported model, and what certify and evaluate printed."""
    folder = tmp_path_factory.mktemp("certify")
    train(EXPERIMENT, WorkDir(folder / "run"), data_dir)
    printed = succeed("certify", folder / "run", "--data-dir", data_dir, *TRY)
    evaluated = succeed("evaluate", folder / "run", "--data-dir", data_dir)
    succeed("export", folder / "run", "--out", folder / "model")
    return folder / "model", printed, evaluated


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model[0], tmp_path / "model")


@pytest.fixture
def no_pictures(monkeypatch):
    """Reports of what is written only."""
    monkeypatch.setattr(report, "_samples", lambda *args: ("", None))
    monkeypatch.setattr(report, "_of_medium", lambda *args: [])


def subject(model, seed=0, variables=None, scale=0.4, images=3):
    pure, built = build(model, seed, scale)
    cond = jax.tree.map(np.asarray, conditions(model, images))
    x = np.asarray(random_events(model, images))
    return Subject(pure, variables or built, x, cond, seed)


def failing(law, model, **options):
    return {row.law for row in law(subject(model, **options)) if not row.passed}


def test_a_trained_model_certifies(model, data_dir, no_pictures):
    folder, printed, evaluated = model
    assert printed.count("pass") == 9
    assert "the laws hold" in printed
    assert evaluated.endswith(", certified by the certificate in the folder\n")
    record = json.loads((folder / "certificate.json").read_text())
    run = load_run(folder)
    assert record["parameters"] == fingerprint.of_variables(run.variables)
    assert record["step"] == run.step
    assert record["passed"] is True
    assert all(row["measured"] <= row["limit"] for row in record["rows"])
    assert json.loads((folder / "result.json").read_text())["certified"] is True
    assert json.loads(succeed("evaluate", folder, "--data-dir", data_dir, "--json"))["certified"]
    page = folder.parent / "x.html"
    succeed("report", folder, "--out", page, "--data-dir", data_dir)
    text = page.read_text()
    assert "<p>Certified by the certificate in the folder.</p>" in text
    assert "<summary>Laws</summary><pre>law" in text


@pytest.mark.parametrize(
    ("model", "chosen"),
    [
        (GatedPixelCNN(image(2, 2, 1, 3), num_classes=3, **SMALL), laws_of(GREY)),
        (Markov(binary(5)), laws_of(GREY)),
        (COLOUR, (laws.causal, laws.normalised)),
        (PixelCNN(image(2, 2, 3, 3), **SMALL), (laws.causal,)),
    ],
)
def test_random_weights_hold_the_laws(model, chosen):
    """Models that are slow to compile skip the laws that `test_laws` covers step by step."""
    s = subject(model)
    assert [row for law in chosen for row in law(s) if not row.passed] == []


def test_a_leak_is_caught(monkeypatch):
    """Mask A shifted to read the pixel itself, in the horizontal stack."""

    def leaking(x, kernel, padding):
        rows, (left, right) = padding
        return convolve(x, kernel, (rows, (left + right, 0)))

    monkeypatch.setattr(causal_conv, "convolve", leaking)
    assert "causal" in failing(laws.causal, GREY)


def test_a_leak_between_sub_pixels_is_caught(monkeypatch):
    """Mask A of a colour PixelCNN replaced by mask B."""
    whole = masked_conv.group_mask
    monkeypatch.setattr(masked_conv, "group_mask", lambda *args: whole(*args[:3], False))
    colour = PixelCNN(image(2, 2, 3, 3), **SMALL)
    assert "causal" in failing(laws.causal, colour)


def test_an_unshifted_first_layer_is_caught(monkeypatch):
    monkeypatch.setattr(pixelwise, "shifted", lambda x, way, at: x)
    assert "causal" in failing(laws.causal, COLOUR)


@pytest.mark.parametrize("seen", [0, 1])
def test_a_leak_in_the_head_is_caught(monkeypatch, seen):
    """p(G | R) that reads G, or B: no parameter changes, only what the head makes of them."""
    right = LogisticMixture.conditional

    def leaking(self, params, channel, previous):
        read = previous[..., min(channel + seen, 2), None]
        return right(self, params * (1 + 0.1 * read), channel, previous)

    monkeypatch.setattr(LogisticMixture, "conditional", leaking)
    assert failing(laws.causal, COLOUR) == {"causal"}


def test_more_than_the_declared_context_is_caught(monkeypatch):
    monkeypatch.setattr(GatedPixelCNN, "context", lambda self, site: np.arange(12) == site - 1)
    assert failing(laws.causal, GREY) == {"within the context"}


def test_an_unnormalised_head_is_caught(monkeypatch):
    monkeypatch.setattr(
        Categorical, "conditional", lambda self, params, *_: 1.001 * jax.nn.softmax(params)
    )
    assert "conditionals sum to 1" in failing(laws.normalised, GREY)


def test_a_log_prob_that_is_not_the_heads_is_caught(monkeypatch):
    """Logits taken for log-probabilities, while the conditionals are right."""
    raw = lambda self, params, x: jnp.take_along_axis(params, x.astype(int), -1)[..., 0]  # noqa: E731
    monkeypatch.setattr(Categorical, "log_prob", raw)
    assert failing(laws.normalised, GREY) == {"log_prob is their sum"}


def test_a_cache_one_site_late_is_caught(monkeypatch):
    """Each value lies where the one before belongs: by steps and by samples."""
    write = GatedPixelCNN.write
    monkeypatch.setattr(
        GatedPixelCNN,
        "write",
        lambda self, cache, site, value: write(self, cache, jnp.maximum(site - 1, 0), value),
    )
    assert failing(laws.steps, GREY) == {"step = parallel"}
    assert failing(laws.martingale, GREY, scale=1.5) == {"samples follow p"}
    assert failing(codec.code_length, GREY, scale=1.5, images=400) == {"code length"}


def test_bits_that_no_file_has_are_caught(monkeypatch):
    """log p without one site: the file is larger than the likelihood says."""
    right = GatedPixelCNN.log_prob_sites
    monkeypatch.setattr(
        GatedPixelCNN,
        "log_prob_sites",
        lambda self, *args, **kw: right(self, *args, **kw).at[:, 3].set(0.0),
    )
    assert failing(codec.code_length, GREY, images=400) == {"code length"}


def test_a_sampler_at_another_temperature_is_caught(monkeypatch):
    right = Categorical.sample
    monkeypatch.setattr(
        Categorical, "sample", lambda self, params, key, _: right(self, params, key, 0.5)
    )
    assert failing(laws.martingale, GREY) == {"samples follow p"}


def test_infinite_weights_fail_every_law():
    _, variables = build(GREY)
    bad = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.inf), variables)
    for law in laws_of(GREY):
        assert failing(law, GREY, variables=bad)


def test_a_failure_is_status_1_and_no_certificate(copy, data_dir, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Categorical, "conditional", lambda self, params, *_: jnp.exp(params))
        status, out, err = call("certify", copy, "--data-dir", data_dir, *TRY)
    assert (status, err) == (1, "")
    assert re.search("conditionals sum to 1 .* FAIL", out)
    assert "NOT certified: a law fails" in out
    out = succeed("evaluate", copy, "--data-dir", data_dir)
    assert "not certified: fails conditionals sum to 1" in out
    assert not json.loads((copy / "result.json").read_text())["certified"]


def test_a_stale_certificate_is_said_to_be_stale(copy, data_dir, tmp_path, no_pictures):
    """Other weights: not certified, in evaluate and report; not exported either."""
    with np.load(copy / "weights.npz") as archive:
        arrays = dict(archive)
    arrays["params/logits/bias"] = np.nextafter(arrays["params/logits/bias"], np.float32(9))
    np.savez(copy / "weights.npz", **arrays)
    out = succeed("evaluate", copy, "--data-dir", data_dir)
    assert "not certified: the certificate is stale" in out
    assert not json.loads((copy / "result.json").read_text())["certified"]
    succeed("report", copy, "--out", tmp_path / "x.html", "--data-dir", data_dir)
    assert "Not certified: the certificate is stale" in (tmp_path / "x.html").read_text()
    succeed("export", copy, "--out", tmp_path / "again")
    assert not (tmp_path / "again" / "certificate.json").exists()


def test_another_config_makes_it_stale(copy):
    variables = load_run(copy).variables
    assert certificate.standing(WorkDir(copy), variables).state == "certified"
    config = json.loads((copy / "config.json").read_text())
    config["experiment"]["fields"]["model"]["fields"]["dtype"] = "bfloat16"
    (copy / "config.json").write_text(json.dumps(config))
    assert certificate.standing(WorkDir(copy), variables).state == "stale"


def test_a_number_from_before_the_certificate_is_not_certified(
    copy, data_dir, tmp_path, no_pictures
):
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "certified": False}))
    succeed("report", copy, "--out", tmp_path / "x.html", "--data-dir", data_dir)
    assert (
        "Certified by the certificate in the folder, but the number is older"
        in (tmp_path / "x.html").read_text()
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": 3}'])
def test_a_damaged_certificate_certifies_nothing(copy, content):
    (copy / "certificate.json").write_text(content)
    found = certificate.standing(WorkDir(copy), load_run(copy).variables)
    assert (found.state, found.fits) == ("damaged", False)


class Unknown:
    """A model that claims to be exact but belongs to no family that has laws."""

    kind, value, codec, num_classes = "mass", "exact", "none", 0


def test_what_cannot_be_certified_says_so():
    for model, words in (
        (GAN(points()), "has no likelihood: there is nothing to certify"),
        (Unknown(), "is not autoregressive, not a bijection"),
    ):
        with pytest.raises(InputError, match=words):
            laws_of(model)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("certify {model} --split tset", "'tset' (did you mean test?)"),
        ("certify {model} --examples 0", "'0' is not a positive whole number"),
        ("certify {model} --seed -1", "--seed: '-1' is not a whole number"),
        ("certify {new}/nowhere", "is not a work directory: it does not exist"),
    ],
)
def test_a_bad_input_is_refused_in_one_line(model, data_dir, tmp_path, line, words):
    places = line.format(model=model[0], new=tmp_path)
    status, out, err = call(*places.split(), "--data-dir", data_dir)
    assert (status, out, len(err.splitlines())) == (2, "", 1), err
    assert words in err
    assert list(tmp_path.iterdir()) == []
