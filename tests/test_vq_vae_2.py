"""VQ-VAE-2: three stages against enumeration, laws of each, files, both grids in the log, planted mistakes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, conditions, random_events
from test_codec import content, same
from test_experiment import CONFIGS

from gen_jax import (
    VQVAE2,
    GatedPixelCNN,
    InputError,
    MapReader,
    PixelSNAIL,
    VQVAE2Prior,
    WaveNet,
    functional,
    image,
    sound,
)
from gen_jax.coding.codec import Codec
from gen_jax.density import bits_per_dim, num_parameters
from gen_jax.experiment import load_config
from gen_jax.laws import staged
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.nn.conditioning import Maps

NET = {"strided": (3,), "top": (3,), "blocks": 1, "residual": 2, "size": 2}
WAVE = {"cycles": 1, "depth": 1, "features": 4, "skip_features": 4}
TINY = VQVAE2(sound(8, 2), codes=2, **NET)
TOP, BOTTOM = TINY.code_events
GREY = VQVAE2(image(4, 8, 1, 5), codes=4, groups=2, mixtures=2, **NET)
HIGH, LOW = GREY.code_events
MODELS = {
    "tiny": VQVAE2Prior(
        TINY, top=WaveNet(TOP, **WAVE), bottom=WaveNet(BOTTOM, codes=(TOP,), embedding=2, **WAVE)
    ),
    "image": VQVAE2Prior(
        VQVAE2(image(4, 8, 1, 5), codes=4, **NET),
        top=PixelSNAIL(
            image(1, 2, 1, 4),
            num_classes=2,
            features=4,
            blocks=1,
            resnets=1,
            key_size=3,
            mixtures=None,
            dropout=0.0,
            embedding=2,
        ),
        bottom=GatedPixelCNN(
            image(2, 4, 1, 4),
            maps=(image(1, 2, 1, 4),),
            reader=MapReader(4, 1, 1, embedding=2),
            depth=1,
            features=4,
            first_kernel=3,
            head_features=4,
            embedding=2,
        ),
    ),
    "grey": GREY,
}


@functools.cache
def built(name):
    return build(MODELS[name], scale=0.7)


def subject(name, n=4):
    pure, variables = built(name)
    cond = jax.tree.map(np.asarray, conditions(pure.model, n))
    return Subject(pure, variables, np.asarray(random_events(pure.model, n)), cond, 0)


@pytest.mark.usefixtures("x64")
def test_three_stages_are_a_distribution_and_log_prob_one_term_of_it():
    """sum over t, b and x of p(t) p(b | t) p(x | t, b) = 1."""
    pure, variables = build(MODELS["tiny"], seed=3, scale=1.0)  # many codes are in use
    top, bottom, last = pure.model.stages(variables)
    assert (top.needs, bottom.needs, last.needs) == ((), (0,), (0, 1))
    x, spaces = all_events(pure.model), [all_events(stage.model) for stage in (top, bottom)]
    pairs = np.array([*itertools.product(*(range(len(space)) for space in spaces))])
    t, b = (space[pairs[:, k]] for k, space in enumerate(spaces))
    logs = [jax.jit(functional(stage.model).log_prob) for stage in (top, bottom, last)]
    log_codes = logs[0](top.variables, t) + logs[1](bottom.variables, b, cond=t)

    def given(k):
        codes = [np.repeat(part[k : k + 1], len(x), axis=0) for part in (t, b)]
        return logs[2](last.variables, x, cond=last.cond(None, codes))

    joint = np.stack([log_codes[k] + given(k) for k in range(len(pairs))])
    np.testing.assert_allclose(np.exp(joint).sum(), 1.0, atol=1e-10)
    parts = jax.jit(lambda x: pure.model.apply(variables, x, method="parts"))(x)
    powers = 2 ** np.arange(6)[::-1]
    index = np.concatenate([np.asarray(part) for part in parts[:2]], axis=1) @ powers
    assert len(np.unique(index)) > 4
    log_prob = np.asarray(jax.jit(pure.log_prob)(variables, x))
    np.testing.assert_allclose(log_prob, joint[index, np.arange(len(x))], rtol=1e-9)
    assert np.exp(log_prob).sum() < 0.999


def test_the_joint_law_holds_on_a_small_model():
    assert [row for row in staged.joint(subject("tiny")) if not row.passed] == []


@pytest.mark.slow
def test_the_joint_law_holds_on_small_images():
    assert [row for row in staged.joint(subject("image")) if not row.passed] == []


def test_every_stage_obeys_the_laws():
    rows = list(staged.each_stage(subject("image")))
    assert [row for row in rows if not row.passed] == []
    names = {row.law for row in rows}
    for stage in ("top", "bottom", "reconstruction"):
        assert {f"{stage}: causal", f"{stage}: depends on its conditions"} <= names
    assert laws_of(MODELS["image"])[:2] == (staged.joint, staged.each_stage)


def test_a_bottom_prior_that_ignores_the_top_codes_is_caught(monkeypatch):
    right = Maps._spread
    monkeypatch.setattr(Maps, "_spread", lambda self, *of: 0 * right(self, *of))
    failed = {row.law for row in staged.each_stage(subject("image")) if not row.passed}
    assert failed == {"bottom: depends on its conditions"}


def test_the_top_codes_are_chosen_first_and_the_bottom_codes_follow_them():
    """Other vectors of the top codes change the bottom grid's outputs; other bottom vectors change no top code."""
    _, variables = built("grey")
    x = random_events(GREY, 4)
    quantise = jax.jit(functools.partial(GREY.apply, method="quantise"))

    def moved(book):
        average = variables["codebook"][book]
        sums = average["sums"] + 1.0
        books = {**variables["codebook"], book: {**average, "sums": sums}}
        return quantise({**variables, "codebook": books}, x)

    before, other_top, other_bottom = (
        quantise(variables, x),
        moved("top_codebook"),
        moved("bottom_codebook"),
    )
    np.testing.assert_array_equal(other_top[0].outputs, before[0].outputs)
    assert np.any(other_top[1].outputs != before[1].outputs)
    np.testing.assert_array_equal(other_bottom[0].codes, before[0].codes)
    np.testing.assert_array_equal(other_bottom[1].outputs, before[1].outputs)


@pytest.mark.parametrize("name", ["tiny", "grey"])
def test_the_loss_logs_both_grids(name):
    pure, variables = built(name)
    x = random_events(pure.model, 4)
    stages = jax.jit(functools.partial(pure.model.apply, method="log_prob_stages"))(variables, x)
    loss, (metrics, updated) = jax.jit(pure.loss)(variables, x, jax.random.key(0))
    nats = [-np.mean(part) for part in stages]
    np.testing.assert_allclose(metrics["reconstruction"], nats[2], rtol=1e-5)
    bits = bits_per_dim(jnp.asarray(nats).sum(), pure.model.event)
    np.testing.assert_allclose(metrics["bits_per_dim"], bits, rtol=1e-5)
    if name == "tiny":
        np.testing.assert_allclose([metrics["top"], metrics["bottom"]], nats[:2], rtol=1e-5)
        np.testing.assert_allclose(loss, (nats[0] + nats[1]) / 6, rtol=1e-5)
    else:
        assert {"perplexity_top", "perplexity_bottom", "codes_in_use_top"} <= metrics.keys()
        for book in GREY.books:
            after, before = updated["codebook"][book], variables["codebook"][book]
            assert np.any(after["shares"] != before["shares"])


def test_priors_begin_on_random_codes():
    """Initial values that depend on data do not depend on an untrained encoder, whose codes hardly vary."""
    model = MODELS["image"]
    init = jax.jit(functional(model).init)
    x, cond = random_events(model, 4), conditions(model, 4)
    one, other = (init(jax.random.key(0), data, cond)["params"]["top"] for data in (x, 0 * x))
    assert max(float(jnp.max(leaf)) for leaf in jax.tree.leaves(one)) < 1e3
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_both_grids_are_diagnosed():
    _, variables = built("grey")
    x = random_events(GREY, 6)
    rows = jax.jit(functools.partial(GREY.apply, method="measure"))(variables, x, jax.random.key(0))
    scalars, _ = GREY.diagnosis(jax.device_get(rows))
    names = {
        f"{scalar}_{grid}"
        for scalar in ("perplexity", "codes_in_use", "shuffled")
        for grid in GREY.names
    }
    assert scalars.keys() == {"reconstruction", *names}
    assert all(np.any(rows[f"shuffled_{grid}"] != 0) for grid in GREY.names)
    rows |= {"bottom": np.zeros((6, 16), int), "shuffled_bottom": np.zeros(6)}
    _, findings = GREY.diagnosis(jax.device_get(rows))
    assert {"codebook collapse_bottom", "codes ignored_bottom"} <= findings.keys()


def test_a_file_has_the_bits_of_three_stages():
    """Whole images take the bits of log_prob and of the labels; larger ones are coded in tiles."""
    pure, variables = built("image")
    codec, x = Codec(pure.model, variables), np.asarray(random_events(pure.model, 4), np.uint8)
    labels = np.arange(4) % 2
    data, size = codec.compress(content(x, labels))
    assert same(codec.decompress(data), content(x, labels))
    bits = 4 - jnp.sum(jax.jit(pure.log_prob)(variables, x, cond=labels)) / np.log(2)
    np.testing.assert_allclose(size.model_bits, bits, rtol=1e-4)


def conv(kernel, inputs, outputs):
    return kernel**2 * inputs * outputs + outputs


def test_parameter_count():
    """By hand from appendix A: 128 features, blocks of 64, 64 numbers for each code."""
    model = load_config(CONFIGS / "vq_vae_2_imagenet_256.py").model
    assert [event.shape for event in model.code_events] == [(32, 32, 1), (64, 64, 1)]
    shapes = jax.eval_shape(
        functional(model).init, jax.random.key(0), jnp.zeros((1, 256, 256, 3), jnp.int32)
    )
    F, D = 128, 64
    blocks = 2 * (conv(3, F, 64) + conv(1, 64, F))
    bottom = conv(4, 3, F) + conv(4, F, F) + conv(3, F, F) + blocks
    top = conv(4, F, F) + conv(3, F, F) + blocks + conv(1, F, D)
    down = conv(3, D, F) + blocks + conv(4, F, D) + conv(1, D + F, D)
    decoder = conv(4, D, D) + conv(3, 2 * D, F) + blocks + conv(4, F, F) + conv(4, F, 100)
    assert num_parameters(model, shapes) == bottom + top + down + decoder + 2 * 512 * D


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            VQVAE2(image(4, 4, 1, 3), strided=(3,), top=()),
            "vq_vae_2 halves the bottom grid at least once",
        ),
        (
            VQVAE2(image(4, 6, 1, 3), **{**NET, "codes": 3}),
            "needs sides that 4 divides, not (4, 6, 1)",
        ),
        (
            VQVAE2Prior(TINY, top=WaveNet(TOP, **WAVE), bottom=WaveNet(BOTTOM, **WAVE)),
            "model.bottom is given (), it should be given",
        ),
        (
            VQVAE2Prior(TINY, top=WaveNet(BOTTOM, **WAVE), bottom=WaveNet(BOTTOM, **WAVE)),
            "model.top is a model of",
        ),
    ],
)
def test_refusals(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError) as refusal:
        jax.eval_shape(functools.partial(functional(model).init, jax.random.key(0)), x)
    assert sentence in str(refusal.value)
