"""The PNG reader of import and complete: exact samples, or a refusal that names the kind or the fault."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from bad_files import chunk
from originals import save_png
from PIL import Image
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module
from test_codec_cli import model_folder

from gen_jax import Independent, InputError, image
from gen_jax.coding import files
from gen_jax.coding.codec import Content
from gen_jax.data.importing import importer
from gen_jax.data.importing.importer import Options
from gen_jax.data.png import KINDS, OTHER_KINDS, SIGNATURE, png, read_every_png, read_png
from gen_jax.media import pictures

PLANES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # fmt: skip


def decoded(content: bytes) -> np.ndarray:
    """The samples (H, W, C) by the specification, one at a time: the reference that knows no Pillow."""
    at, packed, head = 8, b"", (0,) * 7
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        body, at = content[at + 8 : at + 8 + size], at + 12 + size
        head = struct.unpack(">IIBBBBB", body) if name == b"IHDR" else head
        packed += body if name == b"IDAT" else b""
    width, height, depth, colour, _, _, interlaced = head
    planes, stream = PLANES[colour], zlib.decompress(packed)
    x, at = np.zeros((height, width, planes), np.int64), 0
    for top, left, down, right in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = x[top::down, left::right]
        if part.size:
            at = _unfiltered(part, stream, at, depth)
    assert at == len(stream)
    return x


def _unfiltered(part: np.ndarray, stream: bytes, at: int, depth: int) -> int:
    """Fill one pass of an image; returns where the stream goes on."""
    size, back = -(-part[0].size * depth // 8), max(1, part.shape[2] * depth // 8)
    before = bytes(size)
    for row in part:
        kind, line = stream[at], bytearray(stream[at + 1 : at + 1 + size])
        for i in range(size):
            a, b = (line[i - back] if i >= back else 0), before[i]
            c = before[i - back] if i >= back else 0
            nearest = min((a, b, c), key=lambda v: abs(a + b - c - v))
            line[i] = line[i] + (0, a, b, (a + b) // 2, nearest)[kind] & 255
        before, at = bytes(line), at + 1 + size
        bits = np.unpackbits(np.frombuffer(before, np.uint8))[: row.size * depth]
        row[:] = (bits.reshape(-1, depth) @ (1 << np.arange(depth)[::-1])).reshape(row.shape)
    return at


def random(depth, channels=1, height=5, width=7):
    samples = np.random.default_rng(depth).integers(2**depth, size=(height, width, channels))
    return samples.astype(np.uint8)


@pytest.mark.parametrize("width", [1, 3, 7, 8, 9])
@pytest.mark.parametrize(("depth", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (8, 3)])
def test_samples_and_depth_survive_a_file(tmp_path, depth, channels, width):
    """By the reference decoder too, and Pillow takes the file."""
    x = random(depth, channels, width=width)
    (tmp_path / "x.png").write_bytes(png(x, depth))
    read = read_png(tmp_path / "x.png")
    assert (read.depth, read.samples.dtype) == (depth, np.uint8)
    np.testing.assert_array_equal(read.samples, x)
    np.testing.assert_array_equal(decoded(png(x, depth)), x)
    np.testing.assert_array_equal(read.grey, x * (255 // (2**depth - 1)))
    with Image.open(tmp_path / "x.png") as picture:
        mode = "RGB" if channels == 3 else "L"
        np.testing.assert_array_equal(np.asarray(picture.convert(mode)).reshape(x.shape), read.grey)


@pytest.mark.parametrize("depth", [2, 4])
def test_an_import_takes_as_many_levels_as_bits_hold(tmp_path, depth):
    x = random(depth)
    (tmp_path / "x.png").write_bytes(png(x, depth))
    content, notes = importer.read([tmp_path / "x.png"], Options(split="train=1"))
    np.testing.assert_array_equal(content.x["train"][0], x)
    assert content.levels == 2**depth
    assert f"{2**depth} levels, the files are {depth}-bit grey" in notes


def wide_colour() -> bytes:
    """48 bits a pixel, with low bytes that matter."""
    x = np.random.default_rng(1).integers(0, 2**16, (6, 9, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in x)
    head = struct.pack(">IIBBBBB", 9, 6, 16, 2, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")  # fmt: skip


def wrong_checksum() -> bytes:
    content = bytearray(png(np.eye(8, dtype=np.uint8)[..., None], 1))
    at = content.index(b"IDAT")
    content[at + 4 + int.from_bytes(content[at - 4 : at], "big")] ^= 255
    return bytes(content)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (wide_colour(), "is a PNG of kind 16-bit colour; only 1-bit grey, 2-bit grey"),
        (wrong_checksum(), "is a broken PNG: broken PNG file (bad header checksum in b'IDAT')"),
        (png(random(8), 8)[:33] + chunk(b"IEND", b""), "is a broken PNG: its chunks do not form"),
        (png(random(8), 8)[:40], "is a broken PNG: it is truncated"),
    ],
    ids=["16 bits", "checksum", "no pixels", "cut"],
)
def test_every_command_refuses_alike(tmp_path, content, words, channels):
    """What import, compress and complete make of a file that cannot be kept; compress keeps 16 bits."""
    path, event = tmp_path / "x.png", image(6, 9, channels)
    path.write_bytes(content)
    for read in (
        lambda: importer.read([path], Options()),
        lambda: pictures.read_images([path], event),
        *([lambda: files.read([path], event)] if "broken" in words else []),
    ):
        with pytest.raises(InputError) as refusal:
            read()
        assert f"{path} {words}" in str(refusal.value)


def test_a_picture_is_refused_by_its_header(tmp_path):
    """13,000 x 13,000 zeros, a few kilobytes: too large for every command, unless that is asked for."""
    path, event = tmp_path / "x.png", image(8, 8)
    Image.new("1", (13_000, 13_000)).save(path)
    for read in (
        lambda limit=None: importer.read([path], Options(split="train=1", max_bytes=limit)),
        lambda limit=None: files.read([path], event, max_bytes=limit),
        lambda limit=None: pictures.read_images([path], event, limit),
    ):
        with pytest.raises(InputError, match="unpacks to 169,000,000 bytes, the limit is 67,108"):
            read()
        with pytest.raises(InputError, match="the limit is 168,999,999; --max-bytes 169000000 all"):
            read(168_999_999)
    Image.new("L", (300, 100)).save(path)
    assert read_png(path, 30_000).samples.shape == (100, 300, 1)
    with pytest.raises(InputError, match="unpacks to 30,000 bytes, the limit is 29,999"):
        read_png(path, 29_999)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    """A pipe would wait for its writer, a device never end."""
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, what in (("folder", "a folder"), ("pipe", "a pipe"), ("zero", "a device")):
        path = tmp_path / f"{name}.png"
        for read in (
            lambda path=path: files.read([path], image(8, 8)),
            lambda path=path: pictures.read_images([path], image(8, 8)),
        ):
            with pytest.raises(InputError, match=rf"{name}\.png is {what}, not a regular file"):
                read()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("model"), Independent(image(8, 8, 1, 256)))


def test_pictures_come_back_at_their_own_depth(model, tmp_path):
    """All depths in one container, and one alone; a model of 256 levels has all their greys."""
    given = {f"{depth}.png": png(random(depth), depth) for depth in (1, 2, 4, 8)}
    for name, content in given.items():
        (tmp_path / name).write_bytes(content)
    out = tmp_path / "x.gjx"
    succeed("compress", model, *(tmp_path / name for name in given), "-o", out)
    succeed("decompress", model, out, "-o", tmp_path / "back")
    for name, content in given.items():
        assert (tmp_path / "back" / name).read_bytes() == content
    succeed("compress", model, tmp_path / "2.png", "-o", out, "--force")
    succeed("decompress", model, out, "-o", tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == given["2.png"]


def test_what_a_killed_decompression_left_is_not_mixed_in(model, tmp_path):
    """A file under the old temporary name does not get into the output."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png(random(8), 8))
    succeed("compress", model, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "x.gjx")
    (tmp_path / "back.tmp").mkdir()
    (tmp_path / "back.tmp" / "stranger.png").write_bytes(b"")
    succeed("decompress", model, tmp_path / "x.gjx", "-o", tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("shape", "packed", "value", "words"),
    [
        ((1, 3, 4, 1), "4-bit", 18, "a picture of 4 bits has greys it cannot have"),
        ((1, 3, 4, 3), "2-bit", 85, "is not a picture of 2 bits per sample"),
        ((2, 3, 4, 1), None, 0, "is not a picture of 8 bits per sample"),
        ((1, 3, 4, 2), None, 0, "is not a picture of 8 bits per sample"),
        ((3, 4, 1), None, 0, "is not a picture of 8 bits per sample"),
    ],
)
def test_what_describes_no_picture_is_not_written(tmp_path, shape, packed, value, words):
    """A container forged with a right checksum could hold it."""
    x = np.full(shape, value, np.uint8)
    content = Content("png", {"": x}, packed={"": packed} if packed else {})
    with pytest.raises(InputError, match=words):
        files.write(content, tmp_path / "x.png", 256)
    assert list(tmp_path.iterdir()) == []


def suite() -> list[Path]:
    """The files of Willem van Schaik's PngSuite, in $PNG_SUITE or the folder PngSuite next to the originals."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "PngSuite"
    return sorted(Path(os.environ.get("PNG_SUITE") or beside).glob("*.png"))


@pytest.mark.skipif(not suite(), reason="no PngSuite: set PNG_SUITE to its folder")
def test_the_png_suite(tmp_path, tmp_path_factory):
    """Every file through import and through the codec: bit for bit as the reference decodes it, or refused by name."""
    kept = []
    for path in suite():
        content = path.read_bytes()
        if path.name.startswith("x"):
            with pytest.raises(InputError, match=r"is a broken PNG: |is not a PNG file"):
                read_every_png(path)
            continue
        kept.append(path)
        picture = read_every_png(path)
        np.testing.assert_array_equal(picture.samples, decoded(content))
        assert picture.kind == (KINDS | OTHER_KINDS)[content[24], content[25]]
        if picture.kind in KINDS.values() and not picture.transparency:
            imported, _ = importer.read([path], Options(split="train=1"))
            np.testing.assert_array_equal(imported.x["train"][0], picture.samples)
        else:
            with pytest.raises(InputError, match="is a PNG of kind "):
                importer.read([path], Options(split="train=1"))
    assert len(kept) == 161
    folder = model_folder(tmp_path_factory.mktemp("model"), Independent(image(8, 8, 3, 256)))
    out, back = tmp_path / "x.gjx", tmp_path / "back"
    succeed("compress", folder, *kept, "-o", out)
    succeed("decompress", folder, out, "-o", back)
    assert {path.name for path in back.iterdir()} == {path.name for path in kept}
    for path in kept:
        one, other = read_every_png(path), read_every_png(back / path.name)
        np.testing.assert_array_equal(decoded((back / path.name).read_bytes()), one.samples)
        assert one.kind == other.kind
        assert (one.palette, one.transparency) == (other.palette, other.transparency)


def test_the_command_says_the_limit(model, tmp_path):
    save_png(tmp_path / "x.png", np.zeros((30, 40), np.uint8))
    line = ("compress", model, tmp_path / "x.png", "-o", tmp_path / "x.gjx", "--max-bytes")
    status, out, err = call(*line, 1199)
    assert (status, out) == (2, "")
    assert err == (
        f"gen-jax: {tmp_path}/x.png unpacks to 1,200 bytes, the limit is 1,199; --max-bytes 1200 allows it\n"
    )
    succeed(*line, 1200)
