"""A PNG of any kind, split into a model's samples and side planes and joined again; the container that holds them."""

import struct
import zlib
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from bad_files import chunk
from cases import build
from test_png import ADAM7, decoded

from gen_jax import GatedPixelCNN, Independent, InputError, image
from gen_jax.coding import container, files, planes
from gen_jax.coding.codec import Codec
from gen_jax.coding.colours import Restriction
from gen_jax.data.png import CODES, KINDS, OTHER_KINDS, SIGNATURE, Png, encoded, read_every_png

RNG = np.random.default_rng(0)
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def sample(kind, height=5, width=7, transparency=b"") -> Png:
    depth, colour = CODES[kind]
    samples = RNG.integers(2**depth, size=(height, width, CHANNELS[colour]))
    samples = samples.astype(np.uint16 if depth == 16 else np.uint8)
    palette = RNG.bytes(3 * 2**depth) if colour == 3 else b""
    return Png(samples, depth, kind, palette, transparency)


def written(picture: Png, interlaced: bool) -> bytes:
    """The file by the specification, with a filter for each row."""
    depth, colour = CODES[picture.kind]
    height, width, channels = picture.samples.shape
    back, stream = max(1, channels * depth // 8), b""
    for top, left, down, right in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = picture.samples[top::down, left::right]
        if not part.size:
            continue
        bits = part.reshape(len(part), -1, 1).astype(int) >> np.arange(depth)[::-1] & 1
        rows = np.packbits(bits.reshape(len(part), -1), axis=1).astype(int)
        above = np.pad(rows, ((1, 0), (back, 0)))
        a, b, c = above[1:, :-back], above[:-1, back:], above[:-1, :-back]
        distances = [abs(a + b - c - v) for v in (a, b, c)]
        nearest = np.choose(np.argmin(distances, axis=0), (a, b, c))
        for y, row in enumerate(rows):
            kind = y % 5
            guess = (0 * row, a[y], b[y], (a[y] + b[y]) // 2, nearest[y])[kind]
            stream += bytes([kind]) + (row - guess).astype(np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    named = {b"PLTE": picture.palette, b"tRNS": picture.transparency}
    chunks = b"".join(chunk(name, data) for name, data in named.items() if data)
    pixels = chunk(b"IDAT", zlib.compress(stream))
    return SIGNATURE + chunk(b"IHDR", header) + chunks + pixels + chunk(b"IEND", b"")


def same(one: Png, other: Png) -> bool:
    assert one.samples.dtype == other.samples.dtype
    return np.array_equal(one.samples, other.samples) and all(
        getattr(one, name) == getattr(other, name)
        for name in ("depth", "kind", "palette", "transparency")
    )


def transparencies(kind) -> tuple[bytes, ...]:
    return {0: (b"", b"\0\1"), 2: (b"", b"\0\1\0\2\0\3"), 3: (b"", b"\7\xff")}.get(
        CODES[kind][1], (b"",)
    )


EVERY = [(kind, clear) for kind in CODES for clear in transparencies(kind)]


def test_the_kinds_of_the_format_are_those_of_png():
    assert set(container.SIDED) == {*KINDS.values(), *OTHER_KINDS.values()}
    assert len(container.SIDED) == len(CODES)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", CODES)
def test_every_kind_is_read_and_written(tmp_path, kind, interlaced):
    path = tmp_path / "x.png"
    for size in ((1, 1), (5, 7), (12, 9)):
        for clear in transparencies(kind):
            picture = sample(kind, *size, clear)
            path.write_bytes(written(picture, interlaced))
            assert same(read_every_png(path), picture)
            path.write_bytes(encoded(picture))
            assert same(read_every_png(path), picture)
            np.testing.assert_array_equal(decoded(encoded(picture)), picture.samples)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "clear"), EVERY)
def test_what_is_split_is_joined(kind, clear, channels):
    if channels < planes.own_channels(kind):
        return
    few = sample(kind, transparency=clear)
    twice = replace(few, palette=few.palette[:6] * (len(few.palette) // 6))
    wide = replace(few, samples=few.samples // 256 * 257) if few.depth == 16 else few
    for picture in (few, twice, wide):
        x, side = planes.split(picture, channels)
        assert (x.shape, x.dtype) == ((5, 7, channels), np.uint8)
        assert same(planes.join(x, side), picture)
        given = (kind, side.palette, clear, len(side.planes), channels)
        assert planes.possible(*given) != planes.plain(kind, clear, channels)
        [again] = planes.decompressed(planes.compressed([side.planes]), [side.planes.shape])
        np.testing.assert_array_equal(again, side.planes)


def test_the_model_has_the_picture_and_the_planes_the_rest():
    """Of 16 bits the high bytes, of a palette the colours; no plane where nothing is left."""
    wide = sample("16-bit colour with alpha")
    x, side = planes.split(wide, 3)
    np.testing.assert_array_equal(x, wide.samples[..., :3] >> 8)
    np.testing.assert_array_equal(side.planes[0], wide.samples[..., 3] >> 8)
    np.testing.assert_array_equal(side.planes[1:], np.moveaxis(wide.samples & 255, 2, 0))
    enlarged = replace(wide, samples=wide.samples // 256 * 257)
    assert len(planes.split(enlarged, 3)[1].planes) == 1
    indexed = sample("2-bit palette")
    x, side = planes.split(indexed, 3)
    entries = np.frombuffer(indexed.palette, np.uint8).reshape(4, 3)
    np.testing.assert_array_equal(x, entries[indexed.samples[..., 0]])
    assert len(side.planes) == 0
    doubled = replace(indexed, palette=b"abcabcxyzabc")
    x, side = planes.split(doubled, 3)
    np.testing.assert_array_equal(side.planes[0], np.array([0, 1, 0, 2])[indexed.samples[..., 0]])
    short = replace(indexed, palette=b"abc")  # its other indices are black
    np.testing.assert_array_equal(
        planes.split(short, 3)[0].any(axis=2), indexed.samples[..., 0] == 0
    )
    assert same(planes.join(*planes.split(short, 3)), short)
    grey = sample("4-bit grey")
    x, side = planes.split(grey, 3)
    np.testing.assert_array_equal(x, np.repeat(17 * grey.samples, 3, axis=2))
    assert (len(side.planes), side.kind) == (0, "4-bit grey")


@pytest.mark.parametrize(
    ("kind", "channels", "change"),
    [
        ("8-bit grey", 3, lambda x, s: (x + np.arange(3, dtype=np.uint8), s)),
        ("4-bit grey", 3, lambda x, s: (x + np.uint8(1), s)),
        ("8-bit palette", 3, lambda x, s: (x, s._replace(palette=bytes(768)))),
        ("2-bit palette", 3, lambda x, s: (x ^ np.uint8(1), s)),
        ("2-bit palette", 3, lambda x, s: (x, s._replace(planes=np.ones((1, 5, 7), np.uint8)))),
        ("2-bit palette", 3, lambda x, s: (x, s._replace(planes=np.zeros((1, 5, 7), np.uint8)))),
        ("16-bit grey", 1, lambda x, s: (x, s._replace(planes=x[None, ..., 0]))),
    ],
)  # fmt: skip
def test_what_comes_from_no_picture_is_refused(kind, channels, change):
    with pytest.raises(InputError, match=f"not those of a PNG of kind {kind}"):
        planes.join(*change(*planes.split(sample(kind), channels)))


def test_side_planes_have_one_size():
    """A stream that is cut, goes on, or is longer or shorter than the pictures."""
    part = RNG.integers(256, size=(2, 3, 4)).astype(np.uint8)
    data = planes.compressed([part])
    bomb = zlib.compress(bytes(2**24))
    for bad in (data[:-1], data + b"\0", b"", b"\0" + data, zlib.compress(bytes(23)), bomb):
        with pytest.raises(InputError, match="it is damaged: "):
            planes.decompressed(bad, [part.shape])
    with pytest.raises(InputError, match="side planes have another size"):
        planes.decompressed(data, [(0, 3, 4)])
    assert planes.compressed([part[:0]]) == b""


def random_model(event):
    model = Independent(event)
    return Codec(model, build(model)[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_in_one_file(tmp_path, channels):
    """Through files and the codec, under a model that knows nothing; sizes count the planes, the version says so."""
    codec = random_model(image(4, 4, channels, 256))
    pictures, paths = {}, []
    for number, (kind, clear) in enumerate(EVERY):
        if planes.own_channels(kind) <= channels:
            path = tmp_path / f"{number}.png"
            pictures[path.name] = sample(kind, 5, 3, clear)
            path.write_bytes(written(pictures[path.name], interlaced=number % 2 == 0))
            paths.append(path)
    content = files.read(paths, codec.event)
    data, size = codec.compress(content)
    header, words = container.unpack(data)
    assert header.version == container.SIDED_VERSION
    assert size.dims == sum(picture.samples.size for picture in pictures.values())
    chunks = sum(len(p.palette) + len(p.transparency) for p in pictures.values())
    assert size.side_bytes == len(header.side) + chunks
    assert size.excess < size.tolerance + 8 * 16 * len(paths) / size.model_bits  # names and shapes
    restored = codec.decompress(data)
    assert restored.checksum() == content.checksum()
    files.write(restored, tmp_path / "back", codec.levels)
    for name, picture in pictures.items():
        assert same(read_every_png(tmp_path / "back" / name), picture)
    assert container.pack(header, words) == data


def test_a_plain_picture_has_the_version_before(tmp_path):
    codec = random_model(image(8, 8, 1, 256))
    for kind in KINDS.values():
        picture = sample(kind)
        if planes.own_channels(kind) == 1:
            (tmp_path / "x.png").write_bytes(encoded(picture))
            content = files.read([tmp_path / "x.png"], codec.event)
            assert not content.sides
            data, size = codec.compress(content)
            assert (data[4], size.side_bytes) == (container.VERSION, 0)


@pytest.fixture(scope="module")
def sided(tmp_path_factory):
    """A codec and the file of a palette picture, a grey one with alpha, and a colour one."""
    codec, folder = random_model(image(4, 4, 3, 256)), tmp_path_factory.mktemp("sided")
    paths = [folder / f"{name}.png" for name in "abc"]
    for path, kind in zip(paths, ("2-bit palette", "grey with alpha", "8-bit colour"), strict=True):
        path.write_bytes(encoded(sample(kind)))
    return codec, codec.compress(files.read(paths, codec.event))[0]


def test_forged_sides(sided):
    """One sentence each, with a right checksum: what no picture has, or another picture than the content's."""
    codec, data = sided
    header, words = container.unpack(data)
    palette, grey, colour = header.entries
    plain_type = {"palette": b"", "transparency": b"", "planes": 0}
    for change in (
        {"entries": (replace(palette, palette=b""), grey, colour)},
        {"entries": (replace(palette, palette=b"abcd"), grey, colour)},
        {"entries": (replace(palette, planes=2), grey, colour)},
        {"entries": (replace(palette, planes=1), grey, colour)},
        {"entries": (replace(palette, transparency=bytes(5)), grey, colour)},
        {"entries": (palette, replace(grey, planes=0), colour)},
        {"entries": (palette, replace(grey, shape=(1, 5, 7, 1)), colour)},
        {"entries": (palette, replace(grey, shape=(1, 2**12, 2**12, 3)), colour)},
        {"entries": (palette, grey, replace(colour, dtype="8-bit colour"))},
        {"entries": (palette, grey, replace(colour, dtype="colour with alpha", planes=1))},
        {"entries": (replace(palette, dtype="8-bit grey", **plain_type), grey, colour)},
        {"entries": (replace(palette, dtype="|u1", **plain_type), grey, colour)},
        {"entries": (palette, replace(grey, shape=(5, 7, 3)), colour)},
        {"entries": (palette, replace(grey, shape=(2**62, 5, 7, 3)), colour)},
        {"side": b""},
        {"side": header.side[:-1]},
        {"side": header.side + b"\0"},
        {"side": zlib.compress(bytes(2**24))},
        {"version": 3},
        {"version": 5},
        {"kind": "npz"},
    ):
        with pytest.raises(InputError) as refusal:
            codec.decompress(container.pack(replace(header, **change), words))
        assert "\n" not in str(refusal.value)
    content = codec.decompress(data)
    assert [side.kind for side in content.sides.values()] == ["2-bit palette", "grey with alpha"]


def test_another_stream_of_other_planes_fails_the_checksum(sided):
    codec, data = sided
    header, words = container.unpack(data)
    parts = planes.decompressed(header.side, [e.of_planes for e in header.entries if e.sided])
    forged = planes.compressed([part ^ 1 for part in parts])
    with pytest.raises(InputError, match="the checksum of the events does not agree"):
        codec.decompress(container.pack(replace(header, side=forged), words))


def test_every_bit_of_a_sided_file_is_guarded(sided):
    data = sided[1]
    for at in range(8 * len(data)):
        bad = bytearray(data)
        bad[at // 8] ^= 1 << at % 8
        with pytest.raises(InputError):
            container.unpack(bytes(bad))


def test_a_restriction_is_the_conditional_distribution_of_the_colours():
    """By enumeration: p(c) = p(r) p(g) p(b) over the colours, channel by channel; grey costs its first channel."""
    rng = np.random.default_rng(1)
    pmf = rng.dirichlet(np.ones(6), (2, 6)).astype(np.float32)
    colours = np.array([[0, 1, 2], [0, 3, 3], [0, 3, 4], [5, 1, 2]], np.uint8)
    x = np.array([[0, 3, 4, 5, 1, 2], [1, 1, 1, 4, 4, 4]], np.int32)
    greys = np.repeat(np.arange(6, dtype=np.uint8)[:, None], 3, axis=1)
    restriction, bits = Restriction([colours, greys], image(1, 2, 3, 6)), 0.0
    for place in range(6):
        rows = restriction.of(pmf[:, place], np.array(place), x, np.ones(2, bool))
        start = place - place % 3
        for lane, palette in enumerate((colours, greys)):
            known = (palette[:, : place % 3] == x[lane, start:place]).all(axis=1)
            allowed = np.isin(np.arange(6), palette[known, place % 3])
            np.testing.assert_allclose(rows[lane], pmf[lane, place] * allowed, atol=1e-9)
            bits += np.log2(rows[lane].sum()) - np.log2(pmf[lane, place].sum())
    np.testing.assert_allclose(restriction.saved, -bits, rtol=1e-6)


def coded(tmp_path, codec, picture: Png):
    """Size, and the samples for the model, of the picture in a file that comes back."""
    (tmp_path / "x.png").write_bytes(encoded(picture))
    content = files.read([tmp_path / "x.png"], codec.event)
    data, size = codec.compress(content)
    assert codec.decompress(data).checksum() == content.checksum()
    assert 8 * len(data) < 1.005 * size.model_bits + 8 * 80
    return size, content.arrays[""]


def test_a_grey_picture_costs_its_first_channel(tmp_path):
    """Under a colour model: log p(x) normalised over the values of red, one pixel at a time; the others are certain."""
    codec = random_model(image(2, 3, 3, 256))
    size, x = coded(tmp_path, codec, sample("8-bit grey", 2, 3))
    assert size.dims == 6
    bits = 0.0
    for row, column in np.ndindex(2, 3):
        other = np.repeat(x, 256, axis=0)
        other[:, row, column, 0] = np.arange(256)
        log_p = codec.model.apply(codec.variables, jnp.asarray(other), method="log_prob")
        bits += np.logaddexp.reduce(np.asarray(log_p, np.float64)) - log_p[x[0, row, column, 0]]
    np.testing.assert_allclose(size.model_bits, bits / np.log(2), rtol=1e-3)


@pytest.mark.slow
def test_few_colours_cost_less_than_under_the_model(tmp_path):
    """Of a network that was not trained: 8 bits a pixel and fewer, where the model has 24."""
    event = image(4, 4, 3, 256)
    model = GatedPixelCNN(event, depth=1, features=6, first_kernel=3, head_features=6)
    codec = Codec(model, build(model)[1])
    for kind, most in (("8-bit grey", 8), ("2-bit grey", 2), ("4-bit palette", 4)):
        size, _ = coded(tmp_path, codec, sample(kind, 4, 4))
        assert size.model_bits / 16 - size.side_bytes / 2 < most + 3
