"""Certificates of flows: the laws hold, planted mistakes are caught; reals are counted in nats; points are drawn."""

import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import FAMILIES
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module
from test_flows import PAIR, PLANE, build, reals

from gen_jax import (
    ImageRealNVP,
    UniformDequantizer,
    VariationalDequantizer,
    image,
    points,
)
from gen_jax.data import prepared
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.laws import bound as bounds
from gen_jax.laws import flow as laws
from gen_jax.laws.certify import laws_of
from gen_jax.laws.small import small
from gen_jax.laws.subject import Subject
from gen_jax.models.flow.base import Flow
from gen_jax.models.flow.real_nvp import BatchNorm
from gen_jax.nn import bijections
from gen_jax.ops import dequantize
from gen_jax.ops.coupling import affine_coupling
from gen_jax.reproduce import comparison
from gen_jax.runs.likelihood import Result
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Keep the sums in the certificates short."""
    monkeypatch.setattr(laws, "SIDE", 256)
    monkeypatch.setattr(bounds, "SUMMED", 2**11)


def subject(model):
    pure, variables = build(model)
    x, levels = np.asarray(reals(model, 5)), model.event.levels
    return Subject(pure, variables, x if levels is None else x.astype(np.int32), None, 0)


def failing(model, chosen=None):
    s = subject(model)
    return {row.law for law in chosen or laws_of(model) for row in law(s) if not row.passed}


@pytest.mark.parametrize(
    "model", [PLANE, pytest.param(PAIR, marks=pytest.mark.slow)], ids=["plane", "pair"]
)
def test_the_laws_hold(model):
    found = [law.__name__ for law in laws_of(model)]
    expected = ["round_trip", "determinant", "rounding"]
    if model is PLANE:
        assert found == [*expected, "samples", "integral", "finite"]
    else:
        assert found == ["rises", "unit_sum", "finite", *expected]
    assert failing(model) == set()


def test_masses_are_summed_under_uniform_noise():
    """Weights of learned noise have no finite variance: their mean misses part of the mass."""
    noise = VariationalDequantizer(
        features=4, blocks=1, components=2, couplings=2, heads=2, context=3
    )
    flows = {name: model for name, model in FAMILIES.items() if hasattr(model, "dequantizer")}
    assert len(flows) >= 4
    for model in flows.values():
        assert small(model.clone(dequantizer=noise)) == small(
            model.clone(dequantizer=UniformDequantizer())
        )


def test_a_patch_has_the_same_weights():
    """A large image's determinant is checked on a corner of it."""
    model = ImageRealNVP(image(16, 32, 1, 3), features=2, blocks=0)
    s = subject(model)
    [row] = laws.determinant(s)
    assert row.passed
    assert "(4, 4, 1)" in row.note


CHECKED = (laws.round_trip, laws.determinant, laws.integral)


def test_a_wrong_sign_is_caught(monkeypatch):
    right = bijections.affine_coupling
    wrong = lambda *of: (lambda y, log_det: (y, -log_det))(*right(*of))  # noqa: E731
    monkeypatch.setattr(bijections, "affine_coupling", wrong)
    assert failing(PLANE, CHECKED) == {"log-determinant", "integral is 1"}


def test_a_forgotten_normalisation_is_caught(monkeypatch):
    right = BatchNorm.__call__

    def wrong(self, x, train=False, y=None):
        z, log_det = right(self, x, train, y)
        return z, 0 * log_det

    monkeypatch.setattr(BatchNorm, "__call__", wrong)
    assert failing(PLANE, CHECKED) == {"log-determinant", "integral is 1"}


def test_a_forgotten_scale_of_the_levels_is_caught(monkeypatch):
    """The log of the number of levels, here log 3, added twice for each value."""
    right = dequantize.to_logit
    wrong = lambda y, levels, alpha: (  # noqa: E731
        right(y, levels, alpha)[0],
        right(y, levels, alpha)[1] + math.log(levels),
    )
    monkeypatch.setattr(dequantize, "to_logit", wrong)
    assert failing(PAIR, (laws.round_trip, laws.determinant)) == {"log-determinant"}


@pytest.mark.slow
def test_a_mean_over_pixels_is_caught(monkeypatch):
    right = Flow.log_density
    monkeypatch.setattr(
        Flow, "log_density", lambda self, *of, **o: right(self, *of, **o) / self.event.size
    )
    assert failing(PAIR, (bounds.unit_sum, laws.determinant)) == {"unit sum", "log-determinant"}


def test_a_wrong_inverse_is_caught(monkeypatch):
    wrong = lambda y, mask, shift, log_scale: affine_coupling(y, mask, shift, -log_scale)[0]  # noqa: E731
    monkeypatch.setattr(bijections, "inverse_affine_coupling", wrong)
    chosen = (laws.round_trip, laws.samples, laws.determinant)
    assert failing(PLANE, chosen) == {"round trip", "samples' latents normal"}


def test_a_cold_sampler_is_caught(monkeypatch):
    right = Flow.sample
    monkeypatch.setattr(Flow, "sample", lambda self, key, n, *of: right(self, key, n, None, 0.9))
    assert failing(PLANE, (laws.samples,)) == {"samples' latents normal"}


def test_weights_that_are_not_finite_fail():
    s = subject(PLANE)
    bad = Subject(s.pure, jax.tree.map(lambda leaf: leaf + jnp.nan, s.variables), s.x, None, 0)
    for law in (laws.finite, laws.round_trip, laws.determinant, laws.rounding):
        assert not any(row.passed for row in law(bad))


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """A flow trained for a moment, and its data."""
    root = tmp_path_factory.mktemp("moons")
    prepared.prepare("moons", root)
    experiment = Experiment(
        model=PLANE, data=Data("moons"), steps=4, batch_size=64, evaluate=Evaluate(2, 5000)
    )
    train(experiment, WorkDir(root / "run"), root)
    return root / "run", ("--data-dir", root)


def test_a_trained_flow_certifies_and_a_planted_sign_does_not(moons, monkeypatch):
    run, data = moons
    printed = succeed("certify", run, *data)
    assert printed.count("pass") == 6
    assert "256 x 256 points" in printed
    assert json.loads(succeed("evaluate", run, *data, "--json"))["certified"]
    right = bijections.affine_coupling
    wrong = lambda *of: (lambda y, log_det: (y, -log_det))(*right(*of))  # noqa: E731
    monkeypatch.setattr(bijections, "affine_coupling", wrong)
    status, out, _ = call("certify", run, *data)
    assert (status, out.count("FAIL")) == (1, 2)
    assert "NOT certified" in out


PLOTS = [
    "Curves of nats by step",
    "Curves of norm by step",
    "Scatter plot of 2000 points",
    "Heat map of the density",
    "Points, their latents and a grid after f; noise, samples and a grid after the inverse",
    "Clouds of points",
]


def test_reals_are_counted_in_nats(moons, tmp_path):
    """Evaluation, the log, the report and `list` say nats; bits/dim is null."""
    run, data = moons
    record = json.loads(succeed("evaluate", run, *data, "--json"))
    split = prepared.load("moons", "test", data[1])
    trained = load_run(run)
    nats = -np.asarray(trained.model.log_prob(trained.variables, split.x), np.float64)
    assert record["bits_per_dim"] is None
    assert (record["kind"], record["value"], record["draws"]) == ("density", "exact", None)
    np.testing.assert_allclose(record["nats"], nats.mean(), rtol=1e-5)
    np.testing.assert_allclose(record["stderr"], nats.std(ddof=1) / 100, rtol=1e-5)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all("nats" in row and "bits_per_dim" not in row for row in rows)
    page = tmp_path / "report.html"
    succeed("report", run, "--out", page, *data)
    text = page.read_text()
    assert f"{record['nats']:.4f} ± {record['stderr']:.4f} nats, exact" in text
    assert ">Data to noise and back</h2>" in text
    assert "bits/dim" not in text
    labels = re.findall(r'<svg role="img" aria-label="([^"]*)"', text)
    assert [label.partition(":")[0] for label in labels] == PLOTS


def test_points_are_sampled(moons, tmp_path):
    run, _ = moons
    succeed("sample", run, "--num", 50, "--out", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    succeed("sample", run, "--num", 50, "--out", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        x = arrays["samples"]
    assert (x.shape, x.dtype) == ((50, 2), np.float32)
    status, _, err = call("compress", run, tmp_path / "x.npz", "-o", tmp_path / "x.gjx")
    assert (status, err.count("\n")) == (2, 1)


def test_results_of_reals_compare():
    """Nats have no natural zero: 0.02 of them are allowed where they are few, and bits/dim stay null."""
    result = Result(np.array([0.1, 0.3]), points(), "exact", unit="nats")
    assert result.bits_per_dim is None
    assert str(result) == "0.2000 ± 0.1000 nats, exact"
    base = {"nats": 0.2, "bits_per_dim": None, "stderr": 0.1, "protocol": "weights of step 1"}
    for nats, passed in ((0.215, True), (0.225, False)):
        rows = comparison.measured(base, {**base, "nats": nats}, same_bits=False)
        assert all(row.passed for row in rows) == passed
