"""The expected loss is minus the bound, logged bits/dim agree with evaluation, and every random choice occurs."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, build, conditions, random_events
from scipy import stats
from test_bounds import BOUNDS
from test_bounds import build as build_latent
from test_ddpm import SCHEDULE, STEPS, Dense
from test_flows import PAIR, PLANE
from test_flows import build as build_flow
from test_vq_vae import COLOUR, MODELS, random_variables

from gen_jax import DDPM, VDVAE, DiscreteVAE, MADEEnsemble, binary, image, points
from gen_jax.density import fold_in
from gen_jax.models.flow import real_nvp
from gen_jax.ops import dequantize

KEY = jax.random.key(0)
EXAMPLE, DIMENSION, BITS = (
    1.0,
    None,
    math.log(2),
)  # units of losses; None: one of the event's dimensions
SYSTEMS = {
    "vae": (BOUNDS["vae"], EXAMPLE),
    "vae_mixture": (BOUNDS["vae_mixture"], EXAMPLE),
    "iwae": (BOUNDS["iwae"], EXAMPLE),
    "pixel_vae": (BOUNDS["pixel_vae"], EXAMPLE),
    "vimco": (DiscreteVAE(binary(4), latent=3), EXAMPLE),
    "vd_vae": (
        VDVAE(
            image(2, 2, 1, 3),
            encoder="2x1",
            decoder="2x2",
            width=4,
            bottleneck=0.5,
            latent=1,
            mixtures=None,
        ),
        DIMENSION,
    ),
    "flow": (PLANE, EXAMPLE),
    "image_flow": (PAIR, DIMENSION),
    "diffusion": (DDPM(points(2), Dense(), STEPS, SCHEDULE, objective="bound"), BITS),
    "vq_vae": (COLOUR, None),
    "vq_vae_prior": (MODELS["classes"], None),
}
SYSTEMS |= {name: (case.model, DIMENSION) for name, case in CASES.items()}
SLOW = {"vae_mixture", "pixel_vae", "vimco", "vd_vae", *CASES} - {
    "nade",
    "lstm",
    "gated_pixel_cnn_conditional",
}
every_system = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in SYSTEMS],
)


def built(model):
    """Without dropout, which is for training only."""
    if hasattr(model, "dropout"):
        model = dataclasses.replace(model, dropout=0.0)
    if model in (PLANE, PAIR):
        return build_flow(model)
    if model in (COLOUR, MODELS["classes"]):
        return random_variables(model)
    return build_latent(model) if model in BOUNDS.values() else build(model)


@every_system
def test_the_loss_is_minus_the_bound(name, monkeypatch):
    """Mean over 16 keys, in the stated unit; the logged bits/dim agrees too. A flow uses batch statistics here."""
    model, unit = SYSTEMS[name]
    pure, variables = built(model)
    monkeypatch.setattr(real_nvp, "MOMENTUM", 0.0)
    if model.event.levels is None:
        x, cond = jax.random.normal(KEY, (2000, *model.event.shape)), None
    else:
        repeats = 1 if model.value == "exact" or name.startswith("vq") else 250
        x, cond = jnp.tile(random_events(model, 8).T, repeats).T, conditions(model, 8 * repeats)
    draws = getattr(model, "draws", 1)
    if "batch_stats" in variables:
        variables = {**variables, **jax.jit(pure.loss)(variables, x, KEY)[1][1]}

    @jax.jit
    def one(key):
        loss, (metrics, _) = pure.loss(variables, x, fold_in(key, "loss"), cond=cond)
        bound = pure.log_prob(variables, x, fold_in(key, "bound"), cond=cond, draws=draws)
        return loss, metrics.get("bits_per_dim", 0.0), jnp.mean(bound)

    keys = jax.random.split(KEY, 16)
    loss, bits, bound = (np.asarray(found, np.float64) for found in jax.lax.map(one, keys))
    found = []
    if not name.startswith("vq"):  # their losses have more terms and fewer
        found.append(loss * (model.event.size if unit is None else unit))
    if model.kind == "mass":
        found.append(bits * model.event.size * math.log(2))
    if unit == BITS:
        found[0] *= model.event.size
    for nats in found:
        off = nats + bound
        error = off.std(ddof=1) / math.sqrt(len(off)) + 1e-5 * np.abs(bound).mean()
        assert abs(off.mean()) < 4.5 * error, (off.mean(), error)
        assert error < 0.02 * np.abs(bound).mean()


def test_every_time_is_drawn(monkeypatch):
    """1..T, both ends too, each in about its share of 1,000 examples."""
    model, seen = SYSTEMS["diffusion"][0], []
    right = DDPM.term
    monkeypatch.setattr(
        DDPM,
        "term",
        lambda self, x, t, *of, **given: seen.append(t) or right(self, x, t, *of, **given),
    )
    pure, variables = build(model)
    seen.clear()
    pure.loss(variables, jnp.zeros((1000, 2)), KEY)
    counts = np.bincount(np.asarray(seen[0]), minlength=STEPS + 1)
    assert len(counts) == STEPS + 1
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] - 1000 / STEPS) < 4.5 * math.sqrt(1000 / STEPS))


def test_the_noise_of_a_level_fills_it(monkeypatch):
    """u is uniform over [0, 1), in the loss as in the bound."""
    seen, right = [], dequantize.uniform
    note = lambda u: jax.debug.callback(lambda u: seen.append(np.asarray(u)), u)  # noqa: E731  also under vmap
    monkeypatch.setattr(dequantize, "uniform", lambda x, u: note(u) or right(x, u))
    pure, variables = built(PAIR)
    x = jnp.zeros((1000, *PAIR.event.shape), int)
    for draw in (pure.loss, pure.log_prob):
        del seen[:]
        with jax.disable_jit():
            draw(variables, x, KEY)
        jax.effects_barrier()
        assert stats.kstest(np.ravel(seen[0]), "uniform").pvalue > 1e-4


def test_every_mask_is_drawn():
    """The loss of a batch is -log p_k of one mask k, each in about its share of 200 batches; so are the samples'."""
    model = MADEEnsemble(binary(5), hidden=(7,), num_masks=4)
    pure, variables = build(model)
    x, keys = random_events(model, 3), jax.random.split(KEY, 200)
    joints = model.apply(variables, x, method="joints").mean(axis=0) / -5
    losses = jax.jit(jax.vmap(lambda key: pure.loss(variables, x, key)[0]))(keys)
    apart = np.abs(np.asarray(losses)[:, None] - np.asarray(joints))
    assert apart.min(axis=1).max() < 1e-5
    counts = np.bincount(apart.argmin(axis=1), minlength=4)
    assert np.all(np.abs(counts - 50) < 4.5 * math.sqrt(50))
