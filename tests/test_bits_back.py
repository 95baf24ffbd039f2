"""Bits-back: round trips at the size of the one-draw bound, true draws, planted mistakes, damaged files."""

import math
import resource
import time
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from cases import TINY_LOCAL, random_events
from cases import build as built
from scipy import stats
from test_bounds import build as narrow
from test_cli import own_cache, succeed  # noqa: F401  a fixture of the module
from test_codec import content, labels_of, same
from test_codec_cli import model_folder, refuse
from test_codec_damage import survive

from gen_jax import (
    DDPM,
    IWAE,
    VAE,
    VDVAE,
    DiscreteVAE,
    Hilbert,
    InputError,
    LinearSchedule,
    LMConvEnsemble,
    MADEEnsemble,
    PixelVAE,
    SCurve,
    UNet,
    binary,
    image,
)
from gen_jax.coding import bits_back, container, latents
from gen_jax.coding.bits_back import BitsBack
from gen_jax.coding.codec import Codec, Content
from gen_jax.coding.container import Entry
from gen_jax.coding.frequencies import weights
from gen_jax.coding.latents import FINE, REACH, WIDTH, Gaussian
from gen_jax.coding.stack import Stack
from gen_jax.models.autoregressive.mixture import Mixture
from gen_jax.models.latent.factorised import Rows
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.ops.latents import Normal

DENSE = {"encoder": DenseEncoder((5,)), "decoder": DenseDecoder((5,))}
MODELS = {
    "mixture": VAE(image(2, 3, 3, 17), latent=3, mixtures=2, **DENSE),
    "vector": IWAE(binary(12), latent=2, draws=3, **DENSE),
    "pixel_vae": PixelVAE(
        image(3, 3, 1, 3), latent=2, encoder=DenseEncoder((4,)),
        depth=2, features=4, first_kernel=3, head_features=4, num_classes=3,
    ),
    "bits": DiscreteVAE(binary(6), latent=4, draws=2, **DENSE),
    "codes": DiscreteVAE(image(2, 3, 1, 3), latent=2, levels=5, size=2, draws=2, **DENSE),
    "classes": VAE(binary(6), latent=2, num_classes=3, **DENSE),
    "groups": VDVAE(
        image(2, 2, 1, 3), encoder="2x1,2d2,1", decoder="1,2m1,2x2",
        width=4, bottleneck=0.5, latent=1, mixtures=2, num_classes=2,
    ),
    "chain": DDPM(
        image(2, 2, 1, 5), UNet(4, (1,), 1, (), 2), timesteps=4, schedule=LinearSchedule(0.3, 0.8),
        variance="learned", objective="hybrid", num_classes=3,
    ),
    "ensemble": MADEEnsemble(image(2, 3, 1, 2), hidden=(7, 6), num_masks=3),
    "orders": LMConvEnsemble(image(2, 3, 1, 3), orders=(SCurve(0), Hilbert(5)), **TINY_LOCAL),
}  # fmt: skip
VECTOR = MODELS["vector"]


def build(model):
    return narrow(model) if isinstance(model, VAE | IWAE | PixelVAE) else built(model)


def events(model, count):
    return np.asarray(random_events(model, count), np.uint8)


def words_of(data):
    return container.unpack(data)[1]


def bits_of(pure, variables, x, labels):
    """The bound of one draw, a mean over eight, with the labels at equal probabilities; bits."""
    draw = jax.jit(pure.log_prob)
    nats = [draw(variables, x, jax.random.key(k), labels).sum() for k in range(8)]
    of_labels = len(x) * np.log2(pure.model.num_classes) if labels is not None else 0.0
    return of_labels - np.mean(nats) / np.log(2)


def blocks_of(model, left):
    """The sizes of the blocks of so many examples."""
    sizes, coder = [], SimpleNamespace(model=model, lanes=left)
    while left:
        sizes.append(BitsBack.share(coder, left, container.VERSION))
        left -= sizes[-1]
    return sizes


@pytest.mark.parametrize(("name", "count"), [("chain", 90), ("vector", 150), ("vector", 1)])
def test_lanes_are_as_few_as_the_largest_block_needs(name, count):
    """It is the first: 2, 30 and 1 examples."""
    model = MODELS[name]
    lanes = Codec(model, build(model)[1])._lanes(
        content(events(model, count), labels_of(model, count)).entries
    )
    assert lanes / 2 < max(blocks_of(model, count)) <= lanes


SLOW = {"orders": [pytest.mark.slow]}


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, [])) for name in MODELS])
def test_round_trip_at_the_bound_of_one_draw(name):
    """Without its initial bits a file is as long as the bound, up to the error of the draws (0 for exact masses)."""
    model = MODELS[name]
    pure, variables = build(model)
    codec, x, labels = Codec(model, variables), events(model, 150), labels_of(model, 150)
    data, size = codec.compress(content(x, labels))
    assert same(codec.decompress(data), content(x, labels))
    assert size.excess <= size.tolerance
    net = 32 * len(words_of(data)) - size.initial_bits
    ends = 2 * len(blocks_of(model, 150)) + 64  # and rounding to words
    assert net > size.model_bits - 4 * size.error_bits - 64
    assert net < 1.005 * size.model_bits + 4 * size.error_bits + ends

    one_example = sum(math.prod(group.shape) for group in model.groups) * 13 + 64
    assert size.initial_bits < 1.5 * one_example

    error = max(size.error_bits, 1e-5 * size.model_bits)
    assert abs(size.model_bits - bits_of(pure, variables, x, labels)) < 4 * error
    exact = isinstance(model, Mixture)
    assert size.error_bits < 1e-4 if exact else size.error_bits > 3

    if len(model.event.shape) == 3:
        high, wide, channels = model.event.shape
        shape = (2, high + 1, 2 * wide - 1, channels)
        ragged = np.random.default_rng(0).integers(model.event.levels, size=shape, dtype=np.uint8)
        given = content(ragged, None if labels is None else labels[1:3])
        data, size = codec.compress(given)
        assert same(codec.decompress(data), given)
        assert size.excess <= size.tolerance


@pytest.fixture(scope="module")
def shifted():
    """A model whose posteriors all lie beyond 3, where the prior is not: its stack is not random."""
    variables = jax.tree.map(np.array, dict(build(VECTOR)[1]))
    variables["params"]["posterior"]["bias"][: VECTOR.latent] += 4.0
    return variables


def noise(variables, monkeypatch):
    """(z - m(x)) / s(x) of the file's own draws."""
    found, ratio = [], Gaussian.log_ratio

    def seen(self, z, q, p):
        found.append((z - q.mean) * np.exp(-q.log_scale))
        return ratio(self, z, q, p)

    monkeypatch.setattr(Gaussian, "log_ratio", seen)
    _, size = Codec(VECTOR, variables).compress(content(events(VECTOR, 600)))
    return np.concatenate(found[::2]).ravel(), size


def test_what_is_popped_is_drawn_from_the_posterior(shifted, monkeypatch):
    drawn, size = noise(shifted, monkeypatch)
    assert stats.kstest(drawn, "norm").pvalue > 1e-4
    assert size.excess <= size.tolerance


def test_without_the_pad_it_is_not(shifted, monkeypatch):
    monkeypatch.setattr(Stack, "flip", lambda self, pad: None)
    assert stats.kstest(noise(shifted, monkeypatch)[0], "norm").pvalue < 1e-6


@pytest.fixture(scope="module")
def vector():
    return Codec(VECTOR, build(VECTOR)[1]), content(events(VECTOR, 1000))


def test_a_prior_of_the_wrong_width_is_caught(vector, monkeypatch):
    """Both directions agree, so the images come back; the file is too long."""
    codec, given = vector
    _, size = codec.compress(given)
    assert size.excess <= size.tolerance < 0.1
    right = latents._masses
    wide = lambda edges, mean, scale: right(edges, mean, np.where(scale == 1, 4.0, scale))  # noqa: E731
    monkeypatch.setattr(latents, "_masses", wide)
    data, size = codec.compress(given)
    assert same(codec.decompress(data), given)
    assert size.excess > size.tolerance


def test_files_of_version_2_are_decoded(monkeypatch):
    """Their blocks take a fifth of the examples left, also in a model of many latents."""
    model = MODELS["bits"]
    codec, given = Codec(model, build(model)[1]), content(events(model, 60))
    right = BitsBack.share
    with monkeypatch.context() as before:
        before.setattr(BitsBack, "share", lambda self, left, version: right(self, left, 2))
        header, words = container.unpack(codec.compress(given)[0])
    assert same(codec.decompress(container.pack(replace(header, version=2), words)), given)
    with pytest.raises(InputError, match="damaged"):
        codec.decompress(container.pack(header, words))


def test_initial_bits_that_are_not_counted_are_caught(monkeypatch):
    """Left out of the file, it cannot be decoded; left out of the sum, the file is too long for one draw's bound."""
    model = VAE(binary(4), latent=200, **DENSE)
    codec, given = Codec(model, build(model)[1]), content(events(model, 2))
    data, size = codec.compress(given)
    assert 200 * 8 < size.initial_bits < 200 * 13
    assert same(codec.decompress(data), given)
    assert size.excess <= size.tolerance < replace(size, initial_bits=0.0).excess

    whole = Stack.words
    monkeypatch.setattr(Stack, "words", lambda self: whole(self)[int(self.initial_bits) // 32 :])
    with pytest.raises(InputError, match="damaged"):
        codec.decompress(codec.compress(given)[0])


def test_steps_that_are_not_the_parallel_pass_are_caught(monkeypatch):
    pure, variables = build(VECTOR)
    x = np.asarray(jax.jit(pure.sample, static_argnums=2)(variables, jax.random.key(0), 1500))
    monkeypatch.setattr(Rows, "step", lambda self, cache, site: (cache, -cache[:, site]))
    with pytest.raises(FloatingPointError, match="do not agree with its parallel pass"):
        Codec(VECTOR, variables).compress(content(x))


def test_push_undoes_pop_and_costs_the_mass():
    """Under Gaussians in bins and under frequencies; masses by distribution functions of SciPy."""
    rng, one = np.random.default_rng(0), Gaussian((1,))
    standard = Normal(np.zeros((900, 1)), np.zeros((900, 1)))
    stack = Stack(rng.integers(1, 2**32, 4000, dtype=np.uint32))
    mean, log_scale = rng.normal(0, 2, (900, 1)), rng.normal(-1, 1, (900, 1))
    mean[0], mean[1], log_scale[2], log_scale[3] = 1e30, -20, -80, 30  # outside, a point, flat
    rows, pad = rng.dirichlet(np.full(7, 0.3), 900), rng.integers(0, 2**16, 50).astype(np.int32)
    before, costs = stack.words(), []

    def popped(pop, *args):
        stack.flip(pad)
        costs.append(stack.bits)
        symbols = pop(*args)
        costs[-1] -= stack.bits
        return symbols

    given = popped(one.pop_posterior, stack, Normal(mean, log_scale), standard)
    plain = popped(stack.pop, weights(rows))
    prior = popped(one.pop_prior, stack, standard)

    for push, *args in (
        (one.push_prior, stack, prior, standard),
        (stack.push, plain, weights(rows)),
        (one.push_posterior, stack, given, Normal(mean, log_scale), standard),
    ):
        push(*args)
        stack.flip(pad)
    np.testing.assert_array_equal(stack.words(), before)

    def bits(symbols, mean, scale):
        middle = (symbols + 0.5) * (WIDTH / FINE) - REACH
        edges = middle[:, None, None] + np.array([-0.5, 0.5]) * WIDTH / FINE
        return -np.log2(np.diff(stats.norm.cdf(edges, mean[..., None], scale[..., None]))).sum()

    own = bits(given[4:], mean[4:], np.exp(log_scale[4:]))
    assert own - 1 < costs[0] < own + 4 * 2 * 24 + 1
    np.testing.assert_allclose(costs[1], -np.log2(rows[np.arange(900), plain]).sum(), atol=1)
    np.testing.assert_allclose(costs[2], bits(prior, np.zeros((900, 1)), np.ones((900, 1))), atol=1)


@pytest.mark.parametrize("bad", [(np.nan, 0.0), (0.0, np.inf)])
def test_no_posterior_is_refused(bad):
    standard = Normal(np.zeros((1, 1)), np.zeros((1, 1)))
    with pytest.raises(FloatingPointError):
        Gaussian((1,)).pop_posterior(Stack(), Normal(*np.array(bad)[:, None, None]), standard)


@pytest.fixture(scope="module")
def compressed():
    codec = Codec(VECTOR, build(VECTOR)[1])
    arrays = {"one": events(VECTOR, 6), "two": events(VECTOR, 5).astype(">i4")}
    given = Content("npz", arrays)
    return codec, given, codec.compress(given)[0]


def test_damage_never_gives_other_images(compressed):
    assert survive(compressed, 300) < 30


def test_damaged_words(compressed):
    """Header, checksum and length agree with the words."""
    codec, given, data = compressed
    header, words = container.unpack(data)
    changed = [words.copy() for _ in words]
    for at, one in enumerate(changed):
        one[at] ^= 1 << at % 32
    swapped, none = words[::-1], words[:0]
    for bad in (*changed, swapped, none, words[:-1], words[1:], np.append(words, [0]).astype("u4")):
        with pytest.raises(InputError, match="damaged"):
            codec.decompress(container.pack(header, bad))
    assert same(codec.decompress(container.pack(header, words)), given)


def test_a_forged_number_of_images_ends_at_once(compressed, monkeypatch):
    """Even where decoding fills the stack more than it empties it."""
    codec, _, data = compressed
    header, words = container.unpack(data)
    forged = replace(header, entries=(Entry("", "<i8", (2**26, 12)),))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for moved in (0.0, 30.0):
        right = Gaussian.push_posterior

        def costly(self, stack, z, q, p, right=right, moved=moved):
            right(self, stack, z, q._replace(mean=q.mean + moved), p)

        monkeypatch.setattr(Gaussian, "push_posterior", costly)
        with pytest.raises(InputError, match="damaged"):
            codec.decompress(container.pack(forged, words))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert time.process_time() - began < 20


def test_a_posterior_without_the_class_is_caught(monkeypatch):
    """Both directions agree, so the images come back; the bits are those of another posterior, over the bound."""
    model = MODELS["classes"]
    pure, variables = build(model)
    variables = jax.tree.map(np.array, dict(variables))
    variables["params"]["encoder"]["Dense_0"]["kernel"][-model.num_classes :] *= 4
    variables["params"]["posterior"]["kernel"][:, : model.latent] *= 4
    x = events(model, 600)
    labels = 1 + np.arange(600) % 2
    right = BitsBack.__init__

    def blind(self, *args):
        right(self, *args)
        begin = self._begin
        self._begin = lambda x, cond: begin(x, cond if x is None else 0 * cond)

    def apart():
        codec, given = Codec(model, variables), content(x, labels)
        data, size = codec.compress(given)
        assert same(codec.decompress(data), given)
        return (size.model_bits - bits_of(pure, variables, x, labels)) / size.error_bits

    assert abs(apart()) < 4
    monkeypatch.setattr(BitsBack, "__init__", blind)
    assert apart() > 6


def test_many_labels():
    """In pieces, in order, at their bits; a number of examples that the words do not hold ends at once."""
    labels, stack = np.random.default_rng(0).integers(0, 7, 9000), Stack(np.ones(4, np.uint32))
    assert bits_back._push_labels(stack, labels, 7) == pytest.approx(9000 * np.log2(7))
    assert 32 * len(stack.words()) < 9000 * np.log2(7) + 5 * 32
    np.testing.assert_array_equal(bits_back._pop_labels(Stack(stack.words()), 9000, 7), labels)
    with pytest.raises(InputError, match="end too early"):
        bits_back._pop_labels(Stack(stack.words()), 2**40, 7)


def test_commands(tmp_path):
    """A latent model compresses pictures by the same commands as any other; another model's file is refused."""
    model = VAE(image(3, 4, 1, 5), latent=2, **DENSE)
    folder, source = model_folder(tmp_path, model), tmp_path / "in.npz"
    x = events(model, 5)
    np.savez(source, images=x)
    out, back = tmp_path / "out.gjx", tmp_path / "back.npz"
    assert "initial" in succeed("compress", folder, source, "-o", out)
    succeed("decompress", folder, out, "-o", back)
    with np.load(back) as archive:
        np.testing.assert_array_equal(archive["images"], x)
    out.write_bytes(out.read_bytes()[:-9])
    assert "damaged" in refuse("decompress", folder, out, "-o", back, "--force")
