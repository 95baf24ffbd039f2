"""Certificates of bounds: the laws hold on random weights, and each planted mistake is caught by its law."""

import functools
import json

import jax
import numpy as np
import pytest
from cases import build as built
from cases import random_events
from test_bounds import BOUNDS, PIXEL, build
from test_cli import own_cache, succeed  # noqa: F401  a fixture of the module

from gen_jax import IWAE, VAE, VDVAE, DiscreteVAE, PixelVAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.laws import bound as bounds
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.models.latent import base
from gen_jax.models.latent.base import LatentModel
from gen_jax.nn.encoders import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from gen_jax.nn.grids import GridDecoder, GridEncoder
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

VECTOR = BOUNDS["vae"]
DENSE = {"encoder": DenseEncoder((5,)), "decoder": DenseDecoder((5,))}
CASES = {
    "vae": VECTOR,
    "mixture": VAE(image(2, 2, 3, 5), latent=3, mixtures=2, **DENSE),
    "conv": VAE(image(4, 4), latent=3, encoder=ConvEncoder((3, 4)), decoder=ConvDecoder((4, 3))),
    "iwae": IWAE(image(3, 3, 1, 2), latent=2, draws=3, **DENSE),
    "pixel_vae": PixelVAE(image(2, 2, 1, 3), latent=2, encoder=DenseEncoder((4,)), **PIXEL),
    "vimco": DiscreteVAE(image(3, 3, 1, 2), latent=3, **DENSE),
    "codes": DiscreteVAE(
        image(8, 8, 1, 3),
        latent=1,
        levels=3,
        size=2,
        grid=(2, 2),
        encoder=GridEncoder((3, 3), 1, 2),
        decoder=GridDecoder((3, 3), 1, 2),
    ),
    "vd_vae": VDVAE(
        image(4, 4, 1, 3),
        encoder="4x1,4d2,2x1",
        decoder="2x1,4m2,4x2",
        width=4,
        bottleneck=0.5,
        latent=1,
    ),
}


def subject(model, images=16):
    gaussian = isinstance(model, VAE | IWAE | PixelVAE)
    pure, variables = build(model) if gaussian else built(model, scale=0.3)
    return Subject(pure, variables, np.asarray(random_events(model, images)), None, 0)


def failing(law, model):
    return {row.law for row in law(subject(model)) if not row.passed}


QUICK = ("vae",)
CHOSEN = [
    pytest.param(model, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name, model in CASES.items()
]


@pytest.mark.parametrize("model", CHOSEN)
def test_the_laws_hold(model):
    s = subject(model)
    assert [row for law in laws_of(model) for row in law(s) if not row.passed] == []


def weights_times(monkeypatch, change):
    right = LatentModel.log_terms

    def wrong(self, *args, **options):
        given, (ratio,) = right(self, *args, **options)
        given, ratio = change(self, given, ratio)
        return given, (ratio,)

    monkeypatch.setattr(LatentModel, "log_terms", wrong)


def test_a_mis_scaled_kl_is_caught(monkeypatch):
    """A beta, or a mean over the pixels instead of a sum, inside the reported bound."""
    weights_times(monkeypatch, lambda self, given, ratio: (given, 3 * ratio))
    assert failing(bounds.unit_sum, VECTOR) == {"unit sum"}


def test_a_mean_over_pixels_is_caught(monkeypatch):
    weights_times(monkeypatch, lambda self, given, ratio: (given / self.event.size, ratio))
    assert failing(bounds.unit_sum, VECTOR) == {"unit sum"}


def test_a_sum_of_draws_for_their_mean_is_caught(monkeypatch):
    right = base.importance_weighted_bound_in_chunks
    monkeypatch.setattr(
        base,
        "importance_weighted_bound_in_chunks",
        lambda weights, draws, chunk: right(weights, draws, chunk) + np.log(draws),
    )
    assert failing(bounds.unit_sum, VECTOR) == {"unit sum"}


def test_a_bound_that_falls_with_draws_is_caught(monkeypatch):
    """The smallest of the weights instead of their mean."""

    def smallest(weights, draws, chunk):
        return weights(jax.numpy.arange(draws)).min(axis=0)

    monkeypatch.setattr(base, "importance_weighted_bound_in_chunks", smallest)
    assert failing(bounds.rises, VECTOR) == {"more draws, higher bound"}


def test_a_lower_bound_above_the_upper_is_caught(monkeypatch):
    right = LatentModel.log_prob

    @functools.wraps(right)  # its signature says that it takes draws
    def wrong(self, *args, **options):
        return right(self, *args, **options) + 1.0

    monkeypatch.setattr(LatentModel, "log_prob", wrong)
    assert failing(bounds.both_sides, VECTOR) == {"lower below upper"}


def test_infinite_weights_fail():
    s = subject(VECTOR)
    bad = Subject(s.pure, jax.tree.map(lambda x: x + np.inf, s.variables), s.x, None, 0)
    assert [row.passed for row in bounds.finite(bad)] == [False]
    assert not any(row.passed for row in bounds.rises(bad))


def test_a_trained_bound_certifies(data_dir, tmp_path):
    model = VAE(image(8, 8, levels=17), latent=4, **DENSE)
    experiment = Experiment(
        model=model, data=Data("digits"), steps=4, batch_size=8, evaluate=Evaluate(every=4)
    )
    train(experiment, WorkDir(tmp_path / "run"), data_dir)
    options = ("--data-dir", data_dir)
    printed = succeed("certify", tmp_path / "run", "--examples", 4, *options)
    assert printed.count("pass") == 6
    assert "bits/dim of 1, 8, 64 draws" in printed
    options = (*options, "--compress", 9, "--json")
    record = json.loads(succeed("evaluate", tmp_path / "run", *options))
    assert (record["value"], record["certified"], record["draws"]) == ("bound", True, 1)
    assert record["file"]["bytes"] > record["file"]["initial_bytes"] > 0
