"""Class-conditional flows, GANs and diffusions: the class changes all that it should, and the laws hold under it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, conditions, random_events
from families import FAMILIES

from gen_jax import (
    DDPM,
    GAN,
    DDPMSampler,
    DenseDiscriminator,
    DenseGenerator,
    ImageRealNVP,
    InputError,
    LinearSchedule,
    RealNVP,
    TarFlow,
    UNet,
    functional,
    image,
    points,
)
from gen_jax.conditions import changed
from gen_jax.density import fold_in
from gen_jax.laws import diffusion, flow
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.models.adversarial.gan import ConvDiscriminator, ConvGenerator
from gen_jax.models.diffusion import ddpm

KEY = jax.random.key(0)
NOISE = DDPM(
    image(2, 2, 1, 3),
    UNet(4, (1,), 1, (), 2),
    timesteps=4,
    schedule=LinearSchedule(0.5, 0.8),
    num_classes=3,
)
MODELS = {
    "flow": RealNVP(depth=2, hidden=(8,), num_classes=3),
    "image_flow": ImageRealNVP(
        image(2, 2, 1, 3), features=3, blocks=1, scales=1, alpha=0.1, num_classes=3
    ),
    "patch_flow": TarFlow(
        image(2, 4, 1, 3), blocks=2, layers=1, features=4, heads=2, num_classes=3
    ),
    "attention_flow": FAMILIES["attention_flow"].clone(num_classes=3),
    "diffusion": NOISE,
    "gan": GAN(
        points(),
        3,
        DenseGenerator((6,)),
        DenseDiscriminator((6,)),
        num_classes=3,
    ),
    "image_gan": GAN(
        image(4, 4, 1, 3), 3, ConvGenerator((3,)), ConvDiscriminator((3,)), num_classes=3
    ),
}


@functools.cache
def built(name):
    return build(MODELS[name])


def events(model, n):
    if model.event.levels is None:
        return jax.random.normal(jax.random.key(1), (n, *model.event.shape))
    return random_events(model, n)


def subject(name, n=4):
    pure, variables = built(name)
    x = np.asarray(events(pure.model, n))
    return Subject(pure, variables, x, np.asarray(conditions(pure.model, n)), 0)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "attention_flow" else [])
        for name in MODELS
    ],
)
def test_the_class_changes_loss_likelihood_and_samples(name):
    pure, variables = built(name)
    model, n = pure.model, 4
    x, cond = events(model, n), conditions(model, n)
    [other] = changed(model, cond)

    @jax.jit
    def numbers(cond):
        loss, _ = pure.loss(variables, x, KEY, cond)
        drawn = pure.sample(variables, KEY, n, cond)
        nats = jnp.zeros(n) if model.kind == "none" else pure.log_prob(variables, x, KEY, cond)
        return loss, drawn, nats

    one, two = numbers(cond), numbers(other)
    assert one[0] != two[0]
    if model.event.levels is None:
        assert np.all(np.any(one[1] != two[1], axis=-1))
    if model.kind != "none":
        assert np.all(one[2] != two[2])
    with pytest.raises(InputError, match="has 3 classes and needs one for each example"):
        pure.sample(variables, KEY, n)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("flow", flow.round_trip),
        ("flow", flow.determinant),
        ("image_flow", flow.round_trip),
        ("image_flow", flow.determinant),
        ("patch_flow", flow.round_trip),
        ("patch_flow", flow.determinant),
        ("diffusion", diffusion.non_negative),
        ("diffusion", diffusion.trajectories),
    ],
)
def test_the_laws_hold_under_a_class(name, law):
    s = subject(name)
    assert law in laws_of(s.model)
    assert [row for row in law(s) if not row.passed] == []


def test_a_forgotten_class_is_caught(monkeypatch):
    """The inverse under the first class for all is not the inverse of f."""
    s = subject("flow")
    right = RealNVP.inverse
    monkeypatch.setattr(RealNVP, "inverse", lambda self, z, cond: right(self, z, 0 * cond))
    assert [row.passed for row in flow.round_trip(s)] == [False]


def test_guidance_moves_the_output_away_from_that_without_a_class():
    """out + w (out - out_free), and w = 0 is no guidance, bit for bit."""
    _, variables = built("diffusion")
    x, t, label = jnp.ones((3, 2, 2, 1)), jnp.full(3, 2), jnp.arange(3)
    now = ddpm.diffusion.at(NOISE.chain(), t, 4)

    def output(label, guidance=0.0):
        options = {"cond": label, "guidance": guidance, "method": "back"}
        return jax.jit(functools.partial(NOISE.apply, **options))(variables, x, now).output

    given, free = output(label), output(jnp.full(3, ddpm.NO_CLASS))
    assert np.all(np.any(given != free, axis=(1, 2, 3)))
    np.testing.assert_allclose(output(label, 1.5), given + 1.5 * (given - free), rtol=1e-5)
    plain, none, guided = (
        jax.jit(functional(NOISE.clone(sampler=sampler)).sample, static_argnums=2)(
            variables, KEY, 30, jnp.arange(30) % 3
        )
        for sampler in (DDPMSampler(), DDPMSampler(guidance=0.0), DDPMSampler(guidance=3.0))
    )
    np.testing.assert_array_equal(plain, none)
    assert np.any(plain != guided)


def test_a_fraction_of_the_classes_is_withheld(monkeypatch):
    """Of 1,000 examples about a tenth; their class then does not reach the loss."""
    seen = []
    right = DDPM.term

    def term(self, *args, cond=None, **options):
        seen.append(cond)
        return right(self, *args, cond=cond, **options)

    monkeypatch.setattr(DDPM, "term", term)
    pure, variables = built("diffusion")
    x, cond = random_events(NOISE, 1000), np.arange(1000) % 3
    pure.loss(variables, x, fold_in(KEY, "loss"), cond)
    withheld = np.asarray(seen[0]) == ddpm.NO_CLASS
    assert 60 < withheld.sum() < 140
    np.testing.assert_array_equal(np.asarray(seen[0])[~withheld], cond[~withheld])


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (NOISE.clone(drop_label=1.0), "drop_label must lie in [0, 1), not 1.0"),
        (
            NOISE.clone(num_classes=0, sampler=DDPMSampler(guidance=1.0)),
            "sampler.guidance needs a model with classes",
        ),
        (
            NOISE.clone(drop_label=0.0, sampler=DDPMSampler(guidance=1.0)),
            "trained with drop_label > 0",
        ),
    ],
)
def test_refusals(model, sentence):
    with pytest.raises(InputError) as caught:
        model.check()
    assert sentence in str(caught.value)


def test_negative_guidance_is_refused():
    with pytest.raises(InputError, match="guidance must be at least 0, not -1"):
        DDPMSampler(guidance=-1.0)
