"""VQ-VAE with and without a prior on its codes: enumeration, samples, files, certificates with planted mistakes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, random_events
from test_codec import content, same

from gen_jax import VQVAE, Event, GatedPixelCNN, InputError, VQVAEPrior, functional, image
from gen_jax.coding.codec import Codec
from gen_jax.density import bits_per_dim, num_parameters
from gen_jax.laws import bound as bounds
from gen_jax.laws import staged
from gen_jax.laws.certify import laws_of
from gen_jax.laws.row import pooled_chi_square
from gen_jax.laws.subject import Subject
from gen_jax.models.latent.vq_vae import Pixels
from gen_jax.models.staged import Staged

NET = {"blocks": 1, "residual": 2, "size": 2}
PRIOR = {"depth": 2, "features": 4, "first_kernel": 3, "head_features": 4, "embedding": 3}
TINY = VQVAE(image(2, 4, 1, 2), strided=(3,), codes=3, **NET)
GREY = VQVAE(image(4, 6, 1, 5), strided=(3,), codes=4, **NET)
COLOUR = VQVAE(image(4, 4, 3, 7), strided=(3, 4), codes=5, groups=2, mixtures=2, **NET)


def with_prior(first, **options):
    prior = GatedPixelCNN(first.code_event, **{**PRIOR, **options})
    return VQVAEPrior(first=first, prior=prior)


MODELS = {
    "uniform": TINY,
    "prior": with_prior(TINY),
    "colour": COLOUR,
    "classes": with_prior(GREY, num_classes=3),
}
tiny_models = pytest.mark.parametrize("name", ["uniform", "prior"])


def random_variables(model):
    """Seeded noise in every leaf; shares of codes are positive."""
    return build(model, scale=1.0 if model.event.size == 8 else 0.4)


@functools.cache
def table(name):
    """log p(z, x) for all codes z and events x; the codes of each event; log_prob."""
    with jax.enable_x64(True):
        model = MODELS[name]
        pure, variables = random_variables(model)
        codes, pixels = model.stages(variables)
        x, z = all_events(model), all_events(codes.model)
        prior = jax.jit(functional(codes.model).log_prob)(codes.variables, z)
        given = jax.jit(
            lambda x, z: pixels.model.apply(pixels.variables, x, None, z, method="log_prob")
        )
        rows = [prior[k] + given(x, np.repeat(z[k : k + 1], len(x), axis=0)) for k in range(len(z))]
        taken, _ = jax.jit(lambda x: model.apply(variables, x, method="parts"))(x)
        index = np.asarray(taken).reshape(len(x), -1) @ np.array([3, 1])
        return np.stack(rows), index, np.asarray(jax.jit(pure.log_prob)(variables, x))


@tiny_models
def test_the_joint_is_a_distribution_and_log_prob_one_term_of_it(name):
    """sum_{z, x} p(z, x) = 1; log_prob is log p(z(x), x), so below log p(x) and its sum below 1."""
    joint, index, log_prob = table(name)
    np.testing.assert_allclose(np.exp(joint).sum(), 1.0, atol=1e-10)
    assert len(np.unique(index)) > 2
    np.testing.assert_allclose(log_prob, joint[index, np.arange(256)], rtol=1e-9)
    exact = np.logaddexp.reduce(joint, axis=0)
    assert np.all(log_prob < exact)
    assert np.exp(log_prob).sum() < 0.999


@tiny_models
def test_samples_follow_the_mixture_over_all_codes(name):
    """Chi-square of 20,000 samples against sum_z p(z, x)."""
    joint, _, _ = table(name)
    pure, variables = random_variables(MODELS[name])
    drawn = jax.jit(pure.sample, static_argnums=2)(variables, jax.random.key(3), 20_000)
    counts = np.bincount(np.asarray(drawn).reshape(-1, 8) @ 2 ** np.arange(8)[::-1], minlength=256)
    expected = 20_000 * np.exp(np.logaddexp.reduce(joint, axis=0))
    assert pooled_chi_square(counts, expected) > 1e-4


def test_codes_under_the_uniform_prior_cost_log_k_each():
    _, variables = random_variables(COLOUR)
    x = random_events(COLOUR, 3)
    stages = jax.jit(functools.partial(COLOUR.apply, method="log_prob_stages"))
    codes, pixels = stages(variables, x)
    np.testing.assert_allclose(codes, -2 * np.log(5), rtol=1e-6)
    assert pixels.shape == (3,)
    rows = COLOUR.apply(variables, x, jax.random.key(0), method="measure")
    assert rows["codes"].shape == (3, 2)  # those of an example are a row
    np.testing.assert_allclose(rows["reconstruction"], -pixels, rtol=1e-6)


@pytest.mark.parametrize("name", ["colour", "classes"])
def test_a_file_is_codes_and_image_at_the_models_own_bits(name):
    """Whole images take the bits of log_prob; larger ones are coded in tiles, some of which cross the edge."""
    model = MODELS[name]
    pure, variables = random_variables(model)
    codec, x = Codec(model, variables), np.asarray(random_events(model, 6), np.uint8)
    labels = np.arange(6) % 3 if model.num_classes else None
    given = content(x, labels)
    data, size = codec.compress(given)
    assert same(codec.decompress(data), given)
    bits = -jnp.sum(jax.jit(pure.log_prob)(variables, x, cond=labels)) / np.log(2)
    bits += 6 * np.log2(3) if model.num_classes else 0
    np.testing.assert_allclose(size.model_bits, bits, rtol=1e-4)
    assert bits / 8 - 4 < len(data) < 1.005 * bits / 8 + 64

    high, wide, channels = model.event.shape
    ragged = np.random.default_rng(0).integers(
        model.event.levels, size=(2, high + 1, 2 * wide - 1, channels), dtype=np.uint8
    )
    given = content(ragged, None if labels is None else labels[:2])
    data, size = codec.compress(given)
    assert same(codec.decompress(data), given)
    assert 8 * len(data) < 1.005 * size.model_bits + 512


def subject(name):
    pure, variables = random_variables(MODELS[name])
    labels = np.arange(6) % 3 if MODELS[name].num_classes else None
    return Subject(pure, variables, np.asarray(random_events(MODELS[name], 6)), labels, 0)


def test_the_laws_hold():
    s = subject("classes")
    rows = [row for law in laws_of(s.model) for row in law(s)]
    assert [row for row in rows if not row.passed] == []
    assert {"joint sums to 1", "codes: causal", "code length", "finite"} <= {
        row.law for row in rows
    }


def failing(law):
    return {row.law for row in law(subject("prior")) if not row.passed}


def test_a_mean_over_pixels_is_caught(monkeypatch):
    right = Pixels.log_prob
    monkeypatch.setattr(Pixels, "log_prob", lambda self, *of, **to: right(self, *of, **to) / 8)
    assert failing(staged.joint) == {"joint sums to 1"}


def test_codes_that_cost_nothing_are_caught(monkeypatch):
    """What is called the bound is then more than any pair of codes and image has."""
    monkeypatch.setattr(
        Staged, "log_prob", lambda self, x, key=None, cond=None: self.log_prob_stages(x, cond)[1]
    )
    assert failing(staged.joint) == {"bound is one of its terms"}


def test_a_code_that_is_no_number_is_caught():
    s = subject("uniform")
    bad = Subject(s.pure, jax.tree.map(lambda leaf: leaf + np.inf, s.variables), s.x, None, 0)
    assert [row.passed for row in bounds.finite(bad)] == [False]


def test_a_collapsed_codebook_is_named():
    rows = {"codes": np.zeros((20, 4), int), "reconstruction": np.ones(20)}
    scalars, findings = COLOUR.diagnosis(rows)
    assert scalars == {"reconstruction": 1.0, "perplexity": 1.0, "codes_in_use": 1.0}
    assert "perplexity 1.00 of 5 codes" in findings["codebook collapse"]
    rows["codes"][:, 1:] = [1, 2, 3]
    assert COLOUR.diagnosis(rows)[1] == {}


def test_codes_by_averages_count_as_parameters():
    """Codes learned by moving averages count as many parameters as codes learned by a loss."""
    for wrap in (lambda first: first, with_prior):
        learned, averaged = (wrap(GREY.clone(decay=decay)) for decay in (None, 0.99))
        count = num_parameters(averaged, build(averaged)[1])
        assert count == num_parameters(learned, build(learned)[1])
    params = build(GREY)[1]["params"]
    own = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert num_parameters(GREY, build(GREY)[1]) == own + 4 * 2


def test_the_prior_logs_the_bits_of_the_bound():
    """Codes by their number, the image by its own, both over the size of the image."""
    model = MODELS["prior"]
    pure, variables = build(model)
    x = jnp.asarray(all_events(model)[:64])
    _, (metrics, _) = jax.jit(pure.loss)(variables, x, jax.random.key(0))
    nats = -jnp.mean(jax.jit(pure.log_prob)(variables, x))
    np.testing.assert_allclose(metrics["bits_per_dim"], bits_per_dim(nats, model.event), rtol=1e-5)
    np.testing.assert_allclose(metrics["codes"] + metrics["reconstruction"], nats, rtol=1e-5)


def test_a_prior_of_other_events_is_refused():
    model = VQVAEPrior(first=TINY, prior=GatedPixelCNN(image(2, 2, 1, 3), **PRIOR))
    x = jnp.zeros((1, 2, 4, 1), jnp.int32)
    with pytest.raises(
        InputError, match=r"model\.prior is a model of .* the first stage's codes are"
    ):
        jax.eval_shape(functools.partial(functional(model).init, jax.random.key(0)), x)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (VQVAE(Event((4, 4), 2)), r"images \(H, W, C\) or sequences \(L,\), not of \(4, 4\)"),
        (VQVAE(Event((4, 4, 1))), "vq_vae is a model of integers, the event has real values"),
        (VQVAE(image(4, 6)), r"needs sides that 4 divides, not \(4, 6, 1\)"),
        (VQVAE(image(4, 4), strided=()), "halves images at least once"),
        (VQVAE(image(4, 4), groups=0), "size, groups and features of at least 1"),
        (VQVAE(image(4, 4), decay=1.0), r"decay and restart in \[0, 1\)"),
        (VQVAE(image(4, 4), decay=None, restart=0.5), "give it a decay"),
    ],
)
def test_impossible_sizes_are_refused(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32 if model.event.levels else float)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functools.partial(functional(model).init, jax.random.key(0)), x)
