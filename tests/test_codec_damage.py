"""Damaged, forged and foreign containers: an error or the identical images, never wrong ones, nothing large or slow."""

import resource
import time
import zlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, random_events

from gen_jax import GatedPixelCNN, InputError, Markov, image
from gen_jax.coding import codec as codecs
from gen_jax.coding import container
from gen_jax.coding.codec import Codec, Content
from gen_jax.coding.container import Entry

MODEL = GatedPixelCNN(
    image(3, 4, 1, 5), depth=1, features=4, first_kernel=3, head_features=4, num_classes=3
)


@pytest.fixture(scope="module")
def compressed():
    """A codec, its content and the bytes of its file."""
    codec = Codec(MODEL, build(MODEL)[1])
    arrays = {
        "images": np.asarray(random_events(MODEL, 6), np.uint8),
        "wide": np.asarray(random_events(MODEL, 2, 1), ">i4").reshape(1, 4, 6),
    }
    content = Content("npz", arrays, np.arange(7) % 3, "<i8")
    return codec, content, codec.compress(content)[0]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, bytes overwritten, a part cut out, put in, doubled or cut off."""
    out, at = bytearray(data), int(rng.integers(len(data)))
    length = int(rng.integers(1, 9))
    kind = rng.integers(6)
    if kind == 0:
        out[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        out[at : at + length] = rng.bytes(length)
    elif kind == 2:
        del out[at : at + length]
    elif kind == 3:
        out[at:at] = rng.bytes(length)
    elif kind == 4:
        out[at:at] = out[at : at + length]
    else:
        del out[at:]
    return bytes(out)


def mended(data: bytes) -> bytes:
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def survive(compressed, number: int) -> int:
    """Decompress `number` damaged files, a third of them with a valid checksum; returns how many came out unharmed."""
    codec, content, data = compressed
    rng, unharmed = np.random.default_rng(0), 0
    for i in range(number):
        bad = mutated(data, rng)
        bad = mended(bad) if i % 3 == 0 else bad
        try:
            found = codec.decompress(bad)
        except InputError:
            continue
        else:
            assert found.checksum() == content.checksum()
            assert all(np.array_equal(x, found.arrays[name]) for name, x in content.arrays.items())
            assert bad == data or i % 3 == 0
            unharmed += 1
    return unharmed


def test_damage_never_gives_other_images(compressed):
    assert survive(compressed, 300) < 30


@pytest.mark.slow
def test_ten_thousand_damaged_files(compressed):
    assert survive(compressed, 10_000) < 1_000


def test_every_single_bit_is_guarded(compressed):
    data = compressed[2]
    for at in range(8 * len(data)):
        bad = bytearray(data)
        bad[at // 8] ^= 1 << at % 8
        with pytest.raises(InputError):
            container.unpack(bytes(bad))
    assert container.pack(*container.unpack(data)) == data


@pytest.mark.parametrize(
    "change",
    [
        {"entries": (Entry("x", "|u1", (2**26, 3, 4, 1)),)},
        {"entries": (Entry("x", "<i8", (1, 2**15, 2**15)),)},
        {"entries": (Entry("x", "<i8", (2**62, 3, 4)),)},
        {"entries": (Entry("x", "|u1", (7, 3, 4, 1)), Entry("x", "|u1", (1, 3, 4, 1)))},
        {"entries": (Entry("x", "|u1", (0, 3, 4, 1)),)},
        {"entries": (Entry("x", "|u1", (7,)),)},
        {"entries": ()},
        {"lanes": 0},
        {"lanes": 2**40},
        {"levels": 4},
        {"labels": None},
        {"labels": ""},
        {"content": bytes(8)},
        {"kind": "png"},
    ],
    ids=str,
)
def test_forged_headers(compressed, change):
    codec, _, data = compressed
    header, words = container.unpack(data)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError):
        codec.decompress(container.pack(replace(header, **change), words))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert time.process_time() - began < 20


def test_forged_counts_of_words_and_arrays(compressed):
    codec, _, data = compressed
    header, words = container.unpack(data)
    start = len(container.pack(replace(header, entries=()), words[:0])) - 4
    for number in (b"\xff" * 8 + b"\x7f", b"\x80\x00", b"\xff" * 30):
        for at in (start - 1, len(data) - 4 - 4 * len(words) - 1):
            with pytest.raises(InputError, match="makes no sense"):
                codec.decompress(mended(data[:at] + number + data[at + 1 :]))


def test_a_forged_number_of_images_ends_with_the_words():
    """Only the words show that there are no more images; no memory is allocated for what the header promises."""
    model = Markov(image(8, 8, 1, 3))
    codec = Codec(model, build(model)[1])
    data, _ = codec.compress(Content("png", {"": np.asarray(random_events(model, 1), np.uint8)}))
    header, words = container.unpack(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for shape in ((2**24, 8, 8, 1), (1, 2**15, 2**15, 1)):
        forged = replace(header, entries=(Entry("", "<i8", shape),))
        with pytest.raises(InputError, match="damaged"):
            codec.decompress(container.pack(forged, words))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("end", ["more", "less", "other"])
def test_the_coders_end_is_checked(compressed, end):
    """Even where header, checksum and length all agree with the words."""
    codec, _, data = compressed
    header, words = container.unpack(data)
    other = {
        "more": np.append(words, 0),
        "less": words[:-1],
        "other": words + (np.arange(len(words)) == len(words) - 1),
    }
    with pytest.raises(InputError, match="damaged"):
        codec.decompress(container.pack(header, other[end].astype(np.uint32)))


def test_another_model_is_refused(compressed):
    codec, _, data = compressed
    variables = jax.tree.map(jnp.array, codec.variables)
    variables["params"]["logits"]["bias"] += 1e-6
    with pytest.raises(InputError, match="another model or with other weights"):
        Codec(MODEL, variables).decompress(data)
    markov = Markov(MODEL.event)
    with pytest.raises(InputError, match="another model or with other weights"):
        Codec(markov, build(markov)[1]).decompress(data)


def test_another_environment_is_a_warning(compressed, monkeypatch, caplog):
    """The stored number of lanes is used, not the one that this version would choose."""
    codec, content, data = compressed
    header, _ = container.unpack(data)
    monkeypatch.setattr(codecs, "environment", lambda: "tpu 9.9")
    monkeypatch.setattr(codecs, "LANES", (1,))
    with caplog.at_level("WARNING", logger="gen_jax"):
        monkeypatch.setattr("gen_jax.runs.logging.LOG.propagate", True)
        found = codec.decompress(data)
    assert found.checksum() == content.checksum()
    assert f"compressed on {header.environment}, this is tpu 9.9" in caplog.text
