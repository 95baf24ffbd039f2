"""Law 10 over every model: what goes in comes out, at the model's own number of bits; a late cache is caught."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, build, conditions, of_systems, random_events
from constriction import stream
from PIL import Image

from gen_jax import GAN, GatedPixelCNN, InputError, image, points
from gen_jax.coding import container, frequencies, tiles
from gen_jax.coding.codec import Codec, Content, transcoder_for
from gen_jax.conditions import changed, events_of, parts_of, rows_of
from gen_jax.laws.codec import code_length
from gen_jax.laws.subject import Subject
from gen_jax.models.baseline.markov import Markov
from gen_jax.typing import Event

COUNT = 8


def labels_of(model, n):
    return np.arange(n) % model.num_classes if model.num_classes else None


def content(x, labels=None, name="x"):
    return Content("npz", {name: x}, labels, "" if labels is None else labels.dtype.str)


def same(one: Content, other: Content) -> bool:
    return one.checksum() == other.checksum() and all(
        np.array_equal(x, other.arrays[name]) and x.dtype == other.arrays[name].dtype
        for name, x in one.arrays.items()
    )


@pytest.mark.parametrize("case", of_systems())
def test_round_trip_at_the_models_own_bits(case):
    model = case.larger
    _, variables = build(model, scale=0.1 if events_of(model) else 0.4)
    codec = Codec(model, variables)
    x, labels = np.asarray(random_events(model, COUNT), np.int16), labels_of(model, COUNT)
    given, values = content(x, labels), parts_of(model, conditions(model, COUNT)).values
    if values:
        with pytest.raises(InputError, match="given more than a class, which a file does not hold"):
            codec.compress(given)
    data, size = codec.compress(given, values)
    assert same(codec.decompress(data, values), given)

    bits = size.model_bits
    _, words = container.unpack(data)
    assert bits - 32 < 32 * len(words) < 1.005 * bits + 64
    assert len(data) < 1.005 * bits / 8 + 64
    assert size.bytes == len(data)

    if len(model.event.shape) == 3:  # 2 x 2 tiles an image, as many tiles as before
        high, wide, channels = model.event.shape
        ragged = np.random.default_rng(0).integers(
            model.levels, size=(2, high + 1, 2 * wide - 1, channels), dtype=np.uint8
        )
        given, values = (
            content(ragged, None if labels is None else labels[:2]),
            rows_of(values, slice(2)),
        )
        data, size = codec.compress(given, values)
        assert same(codec.decompress(data, values), given)
        assert 8 * len(data) < 1.005 * size.model_bits + 512


def test_a_file_needs_the_conditions_it_was_written_under():
    """They are not in the file: others give no other events but an error, and so do none, or a wrong number."""
    model = CASES["pixel_cnn_pp_maps"].model
    _, variables = build(model)
    codec, given = (
        Codec(model, variables),
        content(np.asarray(random_events(model, 4)), labels_of(model, 4)),
    )
    cond = conditions(model, 4)
    _, other = changed(model, cond)
    values, others = (parts_of(model, one).values for one in (cond, other))
    data, size = codec.compress(given, values)
    assert same(codec.decompress(data, values), given)
    for wrong, sentence in (
        (others, "damaged or from another machine"),
        ((), "given more than a class, which a file does not hold"),
        (rows_of(values, slice(3)), "there is to be one condition for each of 4 examples"),
    ):
        with pytest.raises(InputError, match=sentence):
            codec.decompress(data, wrong)
    pure, _ = build(model)
    bits = -np.sum(jax.jit(pure.log_prob)(variables, given.arrays["x"], cond=cond)) / np.log(2)
    np.testing.assert_allclose(size.model_bits, bits + 4 * np.log2(model.num_classes), rtol=1e-4)


def test_the_law_codes_under_the_conditions(monkeypatch):
    """Encoder and decoder are given the same; a decoder that is given others restores nothing."""
    pure, variables = build(CASES["wavenet_given"].model)
    x = np.asarray(random_events(pure.model, 16), np.int32)
    s = Subject(pure, variables, x, jax.tree.map(np.asarray, conditions(pure.model, 16)), 0)
    assert [row.passed for row in code_length(s)] == [True, True]
    right = Codec.decompress
    monkeypatch.setattr(
        Codec, "decompress", lambda self, data, values: right(self, data, [v[::-1] for v in values])
    )
    [row] = code_length(s)
    assert not row.passed
    assert "damaged" in row.note


@pytest.mark.parametrize("levels", [2, 3, 17, 256, 65536])
def test_frequencies_are_those_of_the_rule(levels):
    rng = np.random.default_rng(levels)
    pmf = rng.dirichlet(np.full(levels, 0.02), 6).astype(np.float32)
    pmf[0] = 0
    pmf[0, -1] = 1  # a certain symbol
    counts = frequencies.weights(pmf).astype(np.int64) + 1
    assert counts.min() >= 1
    assert np.all(counts.sum(axis=1) == frequencies.TOTAL)
    assert np.all(counts > pmf / pmf.sum(axis=1, keepdims=True) * (frequencies.TOTAL - levels) - 1)
    slack = -np.log2(1 - levels / frequencies.TOTAL)
    extra = np.log2(np.maximum(pmf.astype(np.float64), 1e-30)) - np.log2(counts / frequencies.TOTAL)
    assert extra.max() < slack + 1e-6  # float32 probabilities sum to 1 but for this


def test_the_coder_codes_by_exactly_these_frequencies():
    """A range coder in whole numbers, written out, gives the same words: the library scales nothing."""
    rng = np.random.default_rng(0)
    rows = frequencies.weights(rng.dirichlet(np.full(5, 0.3), 400))
    counts = rows.astype(np.int64) + 1
    symbols = np.array([rng.choice(5, p=c / c.sum()) for c in counts], np.int32)
    encoder = frequencies.Encoder()
    encoder.put(symbols, rows)
    low, size, bits = 0, 2**64 - 1, 64
    for count, symbol in zip(counts, symbols, strict=True):
        scale = size >> frequencies.PRECISION
        low += scale * int(count[:symbol].sum())
        size = scale * int(count[symbol])
        if size < 2**32:
            low, size, bits = low << 32, size << 32, bits + 32
    words = encoder.words()
    value = int("".join(f"{word:08x}" for word in words), 16)
    shift = bits - 32 * len(words)
    assert low <= value << shift < low + size
    fresh = stream.queue.RangeDecoder(words)
    assert np.array_equal(fresh.decode(stream.model.Categorical(perfect=False), rows), symbols)


@pytest.mark.parametrize("bad", [[np.nan, 0.5], [-0.1, 1.1], [0.0, 0.0], [np.inf, 1.0]])
def test_no_distribution_is_refused(bad):
    with pytest.raises(FloatingPointError):
        frequencies.weights(np.array([bad], np.float32))


class Late(Markov):
    """Its cache learns of a value one site late."""

    def init_cache(self, n, cond=None):
        return super().init_cache(n, cond), jnp.zeros((n, 1), jnp.int32)

    def step(self, cache, site):
        inner, params = super().step(cache[0], site)
        return (inner, cache[1]), params

    def write(self, cache, site, value):
        return super().write(cache[0], site, cache[1]), value


def test_a_cache_that_is_one_site_late_is_caught():
    event = image(8, 8, 1, 4)
    counts = np.ones((64, 4, 4)) + 500 * np.roll(np.eye(4), 1, axis=1)
    pure, variables = build(Markov(event))
    variables = {"counts": {"table": jnp.asarray(counts, jnp.float32)}}
    x = np.asarray(jax.jit(pure.sample, static_argnums=2)(variables, jax.random.key(0), 16))
    _, size = Codec(Markov(event), variables).compress(content(x))
    own = -pure.log_prob(variables, x).sum() / np.log(2)
    np.testing.assert_allclose(size.model_bits, own, rtol=1e-5)
    with pytest.raises(FloatingPointError, match="do not agree with its parallel pass"):
        Codec(Late(event), variables).compress(content(x))


def test_tiles_cover_every_pixel_once():
    event = Event((3, 4, 2), 5)
    shapes = [(2, 7, 9, 2), (1, 2, 3, 2), (3, 3, 4, 2)]
    arrays = [np.random.default_rng(0).integers(5, size=shape) for shape in shapes]
    every = list(tiles.tiles(shapes, event))
    assert len(every) == tiles.count(shapes, event) == 2 * 9 + 1 + 3
    assert [tile.example for tile in every] == [0] * 9 + [1] * 9 + [2, 3, 4, 5]
    block = tiles.empty(every, shapes, event, 32, np.arange(6))
    tiles.cut(block, every, arrays, event)
    assert block.coded.sum() == sum(x.size for x in arrays)
    assert not block.values[~block.coded].any()
    assert block.cond.tolist()[:22] == [tile.example for tile in every]
    again = [np.full_like(x, -1) for x in arrays]
    tiles.paste(block, every, again, event)
    for x, y in zip(arrays, again, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_real_omniglot_image_in_ragged_tiles(shared):
    """105 = 3 28 + 21: the last tiles hang over two edges."""
    with np.load(shared / "omniglot.npz") as archive:
        rows = np.unpackbits(archive["evaluation_packed"][:2], axis=1)
    given = content(rows[:, : 105 * 105].reshape(2, 105, 105, 1))
    model = Markov(image(28, 28, 1, 2))
    counts = jnp.full((784, 2, 2), 1.0).at[:, 0, 0].set(30.0).at[:, 1, 1].set(3.0)
    codec = Codec(model, {"counts": {"table": counts}})
    data, size = codec.compress(given)
    assert same(codec.decompress(data), given)
    assert size.dims == 2 * 105 * 105
    assert 8 * len(data) < min(1.005 * size.model_bits + 512, 0.5 * size.dims)


def test_a_cropped_kodak_image_in_ragged_tiles(shared):
    with Image.open(shared / "kodak" / "kodim03.png") as picture:
        crop = np.asarray(picture)[100:121, 200:230]
    model = GatedPixelCNN(image(8, 8, 3), depth=1, features=6, first_kernel=3, head_features=6)
    codec, given = Codec(model, build(model)[1]), content(crop[None])
    data, size = codec.compress(given)
    assert same(codec.decompress(data), given)
    assert size.dims == 21 * 30 * 3
    assert 8 * len(data) < 1.005 * size.model_bits + 512


def test_only_exact_masses_and_bounds_compress():
    with pytest.raises(InputError, match="cannot compress"):
        transcoder_for(GAN(points()), {}, 1)


def test_fingerprints_tell_models_and_weights_apart():
    model = GatedPixelCNN(image(4, 4, 1, 2), depth=2, features=4, first_kernel=3, head_features=4)
    _, variables = build(model)
    moved = jax.tree.map(lambda leaf: leaf, variables)
    moved["params"]["logits"]["bias"] = jnp.nextafter(variables["params"]["logits"]["bias"], 9.0)
    wider = replace(model, event=image(4, 5, 1, 2))
    found = {
        Codec(m, v).fingerprint for m, v in ((model, variables), (model, moved), (wider, variables))
    }
    assert len(found) == 3
    assert Codec(model, jax.device_get(variables)).fingerprint in found
