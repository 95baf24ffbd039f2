"""PixelCNN with auxiliary variables: views, the laws of each part, exact and bound, files, planted mistakes."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, conditions, random_events
from families import FAMILIES
from test_codec import content, same

from gen_jax import (
    GatedPixelCNN,
    InputError,
    MapReader,
    PixelCNNGray,
    PixelCNNPP,
    PixelCNNPyramid,
    functional,
    image,
)
from gen_jax.coding.codec import Codec
from gen_jax.density import bits_per_dim, num_parameters
from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS
from gen_jax.laws import autoregressive as laws
from gen_jax.laws import staged
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.models.autoregressive import pixel_cnn_auxiliary as auxiliary

SIZES = {"features": 4, "resnets": 1, "resolutions": 1, "mixtures": 2, "dropout": 0.0}
VIEW, COLOUR = image(2, 4, 1, 3), image(2, 4, 3, 4)
GRAY = PixelCNNGray(
    COLOUR,
    (
        PixelCNNPP(VIEW, num_classes=2, **{**SIZES, "mixtures": None}),
        PixelCNNPP(COLOUR, maps=(VIEW,), reader=MapReader(4, 1, 1, embedding=2), **SIZES),
    ),
    levels=3,
)
PYRAMID = FAMILIES["pyramid"]
MODELS = {"gray": GRAY, "pyramid": PYRAMID, "averages": PYRAMID.clone(view="average")}


@functools.cache
def built(name):
    return build(MODELS[name])


def subject(name, n=4):
    pure, variables = built(name)
    cond = jax.tree.map(np.asarray, conditions(pure.model, n))
    return Subject(pure, variables, np.asarray(random_events(pure.model, n)), cond, 0)


def test_grey_is_the_mean_in_equal_intervals():
    every = np.array(list(itertools.product(range(4), repeat=3)), np.uint8)
    mean = every.astype(float).sum(axis=1) / (3 * 3 + 1)  # in [0, 1)
    levels = np.asarray(auxiliary.grey(jnp.asarray(every[:, None, None]), 4, 3)).ravel()
    np.testing.assert_array_equal(levels, np.floor(3 * mean + 1e-9))
    assert sorted(set(levels)) == [0, 1, 2]


def test_averages_are_rounded_half_up():
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 4, 3)).astype(np.uint8)
    squares = x.reshape(5, 4, 2, 2, 2, 3).astype(float)
    expected = np.floor(squares.mean(axis=(2, 4)) + 0.5)
    np.testing.assert_array_equal(auxiliary.average(jnp.asarray(x), 2), expected)


def test_the_reader_drops_in_training_alone():
    """Evaluation has the numbers of a reader without dropout; in training they follow the key."""
    whole = PYRAMID.networks[1]
    dropping = whole.clone(reader=dataclasses.replace(whole.reader, resnets=1, dropout=0.5))
    whole = whole.clone(reader=dataclasses.replace(dropping.reader, dropout=0.0))
    pure, variables = build(dropping)
    x, cond = random_events(dropping, 2), conditions(dropping, 2)
    expected = functional(whole).log_prob(variables, x, cond=cond)
    np.testing.assert_array_equal(pure.log_prob(variables, x, cond=cond), expected)
    plain = functional(whole).loss(variables, x, jax.random.key(0), cond=cond)[0]
    losses = [pure.loss(variables, x, jax.random.key(seed), cond=cond)[0] for seed in range(2)]
    assert len({float(loss) for loss in (plain, *losses)}) == 3


def test_parts_of_the_pixels_are_put_together():
    x = random_events(PYRAMID, 3)
    parts = PYRAMID.parts(x)
    assert sum(part[0].size for part in parts) == PYRAMID.event.size
    np.testing.assert_array_equal(PYRAMID.whole(parts), x)
    np.testing.assert_array_equal(parts[0], x[:, ::4, ::4])


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_the_sum_of_the_parts(name):
    pure, variables = built(name)
    x, cond = random_events(pure.model, 3), conditions(pure.model, 3)
    stages = jax.jit(functools.partial(pure.model.apply, method="log_prob_stages"))
    nats = [-np.mean(part) for part in stages(variables, x, cond)]
    loss, (metrics, _) = jax.jit(pure.loss)(variables, x, jax.random.key(0), cond)
    for part, name in zip(nats, pure.model.names, strict=True):
        np.testing.assert_allclose(metrics[name], part, rtol=1e-5)
    np.testing.assert_allclose(loss, sum(nats) / pure.model.event.size, rtol=1e-5)
    bits = bits_per_dim(sum(nats), pure.model.event)
    np.testing.assert_allclose(metrics["bits_per_dim"], bits, rtol=1e-5)


@pytest.mark.parametrize("name", ["gray", "pyramid"])
def test_every_stage_obeys_the_laws(name):
    rows = list(staged.each_stage(subject(name)))
    assert [row for row in rows if not row.passed] == []
    names = {row.law for row in rows}
    for stage in MODELS[name].names:
        assert {f"{stage}: causal", f"{stage}: step = parallel"} <= names
        assert (f"{stage}: depends on its conditions" in names) == (stage != "1x1")
    assert laws_of(MODELS[name])[:2] == (staged.joint, staged.each_stage)


def test_a_step_that_passes_over_given_pixels_is_caught(monkeypatch):
    monkeypatch.setattr(auxiliary.lax, "fori_loop", lambda low, high, body, carry: carry)
    s = subject("pyramid")
    stage, values = s.model.stages(s.variables)[1], s.model.parts(jnp.asarray(s.x))
    cond = jax.tree.map(np.asarray, stage.cond(None, values))
    given = Subject(functional(stage.model), stage.variables, np.asarray(values[1]), cond, 0)
    assert [row.passed for row in laws.steps(given)] == [False]


def test_a_bound_that_calls_itself_exact_is_caught(monkeypatch):
    monkeypatch.setattr(PixelCNNPyramid, "value", "exact")
    rows = {row.law: row.passed for row in staged.joint(subject("averages"))}
    assert rows["joint sums to 1"]
    assert rows["bound is one of its terms"]
    assert not rows["no mass outside the views"]


def test_the_views_of_a_reconstruction_are_those_of_the_image():
    s = subject("pyramid")
    drawn = jax.jit(functools.partial(s.model.apply, method="reconstruct"))
    again = drawn(s.variables, s.x, jax.random.key(1))
    assert np.any(again != s.x)
    x = jnp.asarray(s.x)
    for before, after in zip(s.model.views(x)[:-1], s.model.views(again), strict=False):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_has_the_bits_of_the_parts(name):
    """Whole images take the bits of log_prob and of the labels; larger ones are coded in tiles."""
    model = MODELS[name]
    pure, variables = built(name)
    codec, x = Codec(model, variables), np.asarray(random_events(model, 4), np.uint8)
    labels = np.arange(4) % 2 if model.num_classes else None
    data, size = codec.compress(content(x, labels))
    assert same(codec.decompress(data), content(x, labels))
    bits = -jnp.sum(jax.jit(pure.log_prob)(variables, x, cond=labels)) / np.log(2)
    bits += 4 if model.num_classes else 0
    np.testing.assert_allclose(size.model_bits, bits, rtol=1e-4)
    high, wide, channels = model.event.shape
    shape = (1, high + 1, 2 * wide - 1, channels)
    ragged = np.random.default_rng(0).integers(model.event.levels, size=shape, dtype=np.uint8)
    given = content(ragged, None if labels is None else labels[:1])
    assert same(codec.decompress(codec.compress(given)[0]), given)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (PYRAMID.clone(networks=PYRAMID.networks[:1]), "of 1 networks needs two or more"),
        (PYRAMID.clone(event=image(4, 6, 1, 2)), "sides that 4 divides, not (4, 6, 1)"),
        (GRAY.clone(levels=5), "needs from 2 to 4 levels of grey, not 5"),
        (GRAY.clone(levels=2), "is a model of Event(shape=(2, 4, 1), levels=3), its view is"),
        (GRAY.clone(networks=GRAY.networks[:1] * 2), "networks[1] is a model of"),
        (
            PixelCNNGray(COLOUR, (GRAY.networks[0], PixelCNNPP(COLOUR, **SIZES)), levels=3),
            "networks[1] is given (), it should be given",
        ),
        (
            GatedPixelCNN(image(4, 4, 1, 2), maps=(image(3, 4, 1, 2),)),
            "whose sides divide 4x4, not (3, 4, 1)",
        ),
        (
            PixelCNNPP(image(4, 4, 1, 2), maps=(image(4, 4, 1, 2),), reader=MapReader(4, 1, 1)),
            "a network of 3 resolutions needs a reader of as many, not 1",
        ),
    ],
)
def test_refusals(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError) as caught:
        jax.eval_shape(lambda: functional(model).init(jax.random.key(0), x, conditions(model, 1)))
    assert sentence in str(caught.value)


def test_all_events_of_an_exact_pyramid_sum_to_one():
    """By enumeration of the images, without the stages: two by two pixels of three levels."""
    small, event = image(1, 1, 1, 3), image(2, 2, 1, 3)
    first = GatedPixelCNN(small, depth=1, features=2, first_kernel=3, head_features=2)
    last = PixelCNNPP(event, maps=(small,), reader=MapReader(4, 1, 1), **SIZES)
    pure, variables = build(PixelCNNPyramid(event, (first, last), view="subsample"))
    log_prob = jax.jit(pure.log_prob)(variables, all_events(pure.model))
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "plain", "read"),
    [
        ("pixel_cnn_gray_cifar10", (53_641_952, 53_659_080), (20_110_016,)),
        ("pixel_cnn_pyramid_cifar10", (3_864_200, 3_864_200, 3_864_200), (6_816_100, 6_816_100)),
    ],
)
def test_sizes_of_the_paper(config, plain, read):
    """Of each network without its view, and what reading the view adds: the maps, and a part of every block."""
    model = load_config(CONFIGS / f"{config}.py").model

    def count(model):
        x = jnp.zeros((1, *model.event.shape), jnp.int32)
        init = functools.partial(functional(model).init, jax.random.key(0))
        return num_parameters(model, jax.eval_shape(init, x, conditions(model, 1)))

    assert tuple(count(network.clone(maps=())) for network in model.networks) == plain
    added = (count(network) for network in model.networks[1:])
    assert tuple(n - m for n, m in zip(added, plain[1:], strict=True)) == read
    assert count(model) == sum(plain) + sum(read)
