"""Imports of published sets, value by value against their files."""

import wave

import numpy as np
import pytest
from originals import assert_same, text_of
from PIL import Image

from gen_jax.data import prepared
from gen_jax.data.importing import importer
from gen_jax.data.importing.importer import Options, import_files
from gen_jax.ops import mu_law
from gen_jax.typing import tokens

DEBD = """
    accidents adult bnetflix connect4 dna dna_made jester kdd msnbc mushrooms nips nltcs ocr_letters pumsb_star rcv1
    tretail
""".split()  # noqa: SIM905  a list to read


@pytest.mark.parametrize("name", DEBD)
def test_debd_is_read_as_it_is(shared, name):
    path = shared / "debd" / f"{name}.npz"
    content, notes = importer.read([path], Options())
    with np.load(path) as arrays:
        assert len(content.x) == len(arrays.files)
        for key in arrays.files:
            assert_same(content.x["validation" if key == "valid" else key], arrays[key])
    assert content.levels == 2
    missing = [split for split in ("train", "validation", "test") if split not in content.x]
    assert any(note.startswith("the files have no ") for note in notes) == bool(missing)


WRITTEN = [
    name if name in ("adult", "nips") else pytest.param(name, marks=pytest.mark.slow)
    for name in DEBD
]


@pytest.mark.parametrize("name", WRITTEN)
def test_debd_is_written_as_it_is(shared, tmp_path, name):
    path = shared / "debd" / f"{name}.npz"
    import_files(name, [path], data_dir=tmp_path)
    with np.load(path) as arrays:
        for key in arrays.files:
            split = "validation" if key == "valid" else key
            assert_same(prepared.load(name, split, tmp_path).x, arrays[key])


def test_kodak_in_tiles(shared, tmp_path):
    """Every pixel of every image: the sizes are multiples of 64."""
    import_files("kodak", [shared / "kodak"], Options(tiles=64), tmp_path)
    files = sorted((shared / "kodak").iterdir())
    for split, mine in (("train", files[:16]), ("validation", files[16:17]), ("test", files[17:])):
        tiles = iter(prepared.load("kodak", split, tmp_path).x)
        for path in mine:
            pixels = np.asarray(Image.open(path))
            for row in range(0, pixels.shape[0], 64):
                for column in range(0, pixels.shape[1], 64):
                    assert_same(next(tiles), pixels[row : row + 64, column : column + 64])
        assert next(tiles, None) is None


def test_tiny_shakespeare_comes_back(shared, tmp_path):
    content = (shared / "tinyshakespeare.txt").read_bytes()
    done = import_files("shakespeare", [shared / "tinyshakespeare.txt"], data_dir=tmp_path)
    assert prepared.load("shakespeare", "train", tmp_path).event == tokens(128, 65)
    for split, start, stop in (
        ("train", 0, 1_003_854),
        ("validation", 1_003_854, 1_059_624),
        ("test", 1_059_624, 1_115_394),
    ):
        end = stop - (stop - start) % 128
        assert text_of("shakespeare", done.folder, split) == content[start:end]


@pytest.mark.parametrize("label", ["digit", "speaker"])
def test_spoken_digits(shared, label):
    """The command of the docs: every recording is once in its split, cut or padded by the standard library's reader."""
    digit, speaker = (
        (r"\d", r"(?P<label>[a-z]+)") if label == "speaker" else (r"(?P<label>\d)", "[a-z]+")
    )
    names = rf"{digit}_{speaker}_(?P<index>\d+)"
    split = "train=10-49,validation=5-9,test=0-4"
    options = Options(length=4096, short="pad", names=names, split=split, windows="first")
    files = sorted((shared / "fsdd").glob("*.wav"))
    content, _ = importer.read(files, options)
    assert {name: len(x) for name, x in content.x.items()} == {
        "train": 2400, "validation": 300, "test": 300,
    }  # fmt: skip
    assert content.num_classes == {"digit": 10, "speaker": 6}[label]
    rows = {
        split: iter(zip(x, content.labels[split], strict=True)) for split, x in content.x.items()
    }
    for path in files:
        fields = path.stem.split("_")
        index = int(fields[2])
        x, told = next(rows["test" if index < 5 else "validation" if index < 10 else "train"])
        assert content.class_names[told] == fields[label == "speaker"]
        if index % 5:
            continue  # every fifth in full
        with wave.open(str(path)) as file:
            sound = np.frombuffer(file.readframes(4096), "<i2") / 32768
        codes = np.full(4096, 128)
        codes[: len(sound)] = mu_law.encode(sound)
        np.testing.assert_array_equal(x, codes)
