"""gen-jax compress and decompress: the same files come out, and every bad input is one sentence and status 2."""

import dataclasses
import json
import os

import jax
import numpy as np
import pytest
from cases import build
from PIL import Image
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module

from gen_jax import GatedPixelCNN, InputError, Markov, image
from gen_jax.coding import container, files
from gen_jax.coding.codec import Content
from gen_jax.data.prepared import Data
from gen_jax.experiment import Experiment
from gen_jax.media import pictures
from gen_jax.runs import weights
from gen_jax.runs.workdir import WorkDir

GREY = Markov(image(8, 8, 1, 17))
BITS = Markov(image(4, 4, 1, 2))
COLOUR = GatedPixelCNN(
    image(4, 4, 3, 256), num_classes=3, depth=1, features=6, first_kernel=3, head_features=6
)


def model_folder(root, model, seed=0):
    """An exported model of noise."""
    experiment = Experiment(model=model, data=Data("digits"), steps=1, batch_size=8)
    workdir = WorkDir(root / "run")
    workdir.claim(experiment, {})
    weights.export(workdir, jax.device_get(build(model, seed)[1]), 1, root / "model")
    return root / "model"


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("grey"), GREY)


@pytest.fixture(scope="module")
def bits(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("bits"), BITS)


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("colour"), COLOUR)


def noise(*shape, levels=17, dtype=np.uint8):
    return np.random.default_rng(0).integers(levels, size=shape).astype(dtype)


def refuse(*argv) -> str:
    status, out, err = call(*argv)
    assert (status, out) == (2, "")
    assert err.startswith("gen-jax: ")
    assert err.count("\n") == 1
    return err


def test_npz_comes_back_as_it_was(grey, tmp_path):
    arrays = {
        "images": noise(5, 8, 8),
        "a/large one": noise(1, 105, 105, 1, dtype=">i2"),
    }
    np.savez(tmp_path / "in.npz", **arrays)
    out, back = tmp_path / "out.gjx", tmp_path / "back.npz"
    told = json.loads(succeed("compress", grey, tmp_path / "in.npz", "-o", out, "--json"))
    assert told["bytes"] == out.stat().st_size
    dims = 5 * 64 + 105 * 105
    assert told["bits_per_dim"] == pytest.approx(8 * told["bytes"] / dims)
    assert told["overhead"] == pytest.approx(told["bits_per_dim"] / told["bits_per_dim_model"] - 1)
    assert told["overhead"] < 0.005 + 8 * 80 / (dims * told["bits_per_dim_model"])
    assert told["weights_bytes"] == 4 * 64 * 17 * 17
    said = json.loads(succeed("decompress", grey, out, "-o", back, "--json"))
    assert said == {"out": str(back), "num": 6, "arrays": ["images", "a/large one"]}
    with np.load(back) as archive:
        assert archive.files == ["images", "a/large one"]
        for name in archive.files:
            assert archive[name].dtype == arrays[name].dtype
            np.testing.assert_array_equal(archive[name], arrays[name])
    assert "bits/dim (the model says" in succeed(
        "compress", grey, tmp_path / "in.npz", "-o", out, "--force"
    )
    assert succeed("decompress", grey, out, "-o", back, "--force") == f"6 events in {back}\n"


def test_pictures_come_back_as_they_were(grey, tmp_path):
    """A crop with ragged edges, one smaller than the model, one of its size."""
    sizes = {"crop.png": (19, 13), "small.PNG": (3, 5), "whole.png": (8, 8)}
    for name, size in sizes.items():
        Image.fromarray(pictures.to_grey(noise(*size), 17)).save(tmp_path / name, format="PNG")
    out = tmp_path / "out.gjx"
    succeed("compress", grey, *(tmp_path / name for name in sizes), "-o", out)
    succeed("decompress", grey, out, "-o", tmp_path / "back")
    assert {path.name for path in (tmp_path / "back").iterdir()} == sizes.keys()
    for name in sizes:
        with Image.open(tmp_path / name) as one, Image.open(tmp_path / "back" / name) as other:
            assert (one.mode, one.size, one.tobytes()) == (other.mode, other.size, other.tobytes())
    succeed("compress", grey, tmp_path / "crop.png", "-o", out, "--force")
    succeed("decompress", grey, out, "-o", tmp_path / "crop_again.png")
    with Image.open(tmp_path / "crop_again.png") as picture:
        np.testing.assert_array_equal(picture, pictures.to_grey(noise(19, 13), 17))
    assert "needs a new folder" in refuse_several(grey, sizes, tmp_path)


def refuse_several(grey, sizes, tmp_path):
    out = tmp_path / "several.gjx"
    succeed("compress", grey, *(tmp_path / name for name in sizes), "-o", out)
    return refuse("decompress", grey, out, "-o", tmp_path / "back")


@pytest.mark.parametrize("mode", ["1", "L"])
def test_one_bit_stays_one_bit(bits, tmp_path, mode):
    pixels = 255 * noise(9, 6, levels=2)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "x.png")
    succeed("compress", bits, tmp_path / "x.png", "-o", tmp_path / "x.gjx")
    succeed("decompress", bits, tmp_path / "x.gjx", "-o", tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as picture:
        assert picture.mode == mode
        np.testing.assert_array_equal(np.asarray(picture.convert("L")), pixels)
    np.savez(tmp_path / "x.npz", x=pixels[None] > 0)
    succeed("compress", bits, tmp_path / "x.npz", "-o", tmp_path / "x.gjx", "--force")
    succeed("decompress", bits, tmp_path / "x.gjx", "-o", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as archive:
        assert archive["x"].dtype == bool
        np.testing.assert_array_equal(archive["x"], pixels[None] > 0)


def test_colour_with_labels(colour, tmp_path):
    x, labels = noise(2, 5, 4, 3, levels=256), np.array([2, 0], np.int16)
    source, out, back = tmp_path / "x.npz", tmp_path / "x.gjx", tmp_path / "y.npz"
    np.savez(source, x=x, labels=labels)
    succeed("compress", colour, source, "-o", out)
    succeed("decompress", colour, out, "-o", back)
    with np.load(back) as archive:
        assert archive["labels"].dtype == np.int16
        np.testing.assert_array_equal(archive["labels"], labels)
        np.testing.assert_array_equal(archive["x"], x)
    assert "has its own labels" in refuse(
        "compress", colour, source, "-o", out, "--label", 1, "--force"
    )
    np.savez(source, x=x, labels=labels > 0)  # booleans are classes 0 and 1
    succeed("compress", colour, source, "-o", out, "--force")
    (tmp_path / "y.npz").unlink()
    succeed("decompress", colour, out, "-o", back, "--force")
    with np.load(back) as archive:
        np.testing.assert_array_equal(archive["labels"], labels > 0, strict=True)
    Image.fromarray(x[0]).save(tmp_path / "x.png")
    picture = ("compress", colour, tmp_path / "x.png", "-o", out, "--force")
    assert "is class-conditional" in refuse(*picture)
    assert "has classes 0 to 2" in refuse(*picture, "--label", 3)
    succeed(*picture, "--label", 2)
    succeed("decompress", colour, out, "-o", tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as found:
        np.testing.assert_array_equal(found, x[0])
    for wrong in ([0, 3], [0], [0.0, 1.0], [[0, 1]], np.zeros(2, "timedelta64[s]")):
        np.savez(source, x=x, labels=np.array(wrong))
        assert "labels" in refuse("compress", colour, source, "-o", out, "--force")


def test_bad_images(grey, tmp_path):
    out, source = tmp_path / "x.gjx", tmp_path / "x.npz"

    def sentence(*images) -> str:
        return refuse("compress", grey, *images, "-o", out)

    for arrays, words in (
        ({"x": noise(2, 8, 8).astype(float)}, "x: examples are float64"),
        ({"x": noise(2, 8, 8) + 1}, "values run from 1 to 17"),
        ({"x": noise(2, 8, 8, 3)}, "the model is of shape (8, 8, 1)"),
        ({"x": noise(8, 8)}, "the model is of shape (8, 8, 1)"),
        ({"x": noise(0, 8, 8)}, "it contains no examples"),
        ({"x": noise(2, 8, 8), "labels": np.arange(2)}, "the model has no classes"),
        ({"labels": np.arange(2)}, "has no array of events"),
        ({"x": np.array([{}])}, "array 'x' contains Python objects, which are never unpickled"),
        ({"x": noise(2, 8, 8).astype("timedelta64[s]")}, "x: examples are timedelta64[s]"),
    ):
        np.savez(source, **arrays)
        assert words in sentence(source)
    np.savez(source, x=noise(1, 8, 8))
    assert "no such file" in sentence(tmp_path / "none.npz")
    assert "no such file" in sentence(tmp_path / "none.png")
    assert "one .npz file or any number of .png" in sentence(source, source)
    assert "one .npz file or any number of .png" in sentence(tmp_path / "x.jpg")
    for name, picture, words in (
        ("rgb.png", Image.fromarray(noise(8, 8, 3)), "is a PNG of kind 8-bit colour"),
        ("levels.png", Image.fromarray(noise(8, 8)), "not among the model's 17 grey levels"),
    ):
        picture.save(tmp_path / name)
        assert words in sentence(tmp_path / name)
    fine = Image.fromarray(np.zeros((8, 8), np.uint8))
    fine.save(tmp_path / "clear.png", transparency=0)
    assert "is a PNG of kind transparent 8-bit grey, which needs a model of 256 levels" in sentence(
        tmp_path / "clear.png"
    )
    fine.save(tmp_path / "jpeg.png", format="JPEG", quality=100)
    assert "is not a PNG file" in sentence(tmp_path / "jpeg.png")
    fine.save(tmp_path / "fine.png")
    assert "two pictures have the name" in sentence(tmp_path / "fine.png", tmp_path / "fine.png")
    assert "takes no labels" in refuse(
        "compress", grey, tmp_path / "fine.png", "-o", out, "--label", 1
    )
    assert "ends in .gjx" in refuse("compress", grey, source, "-o", tmp_path / "x.npz")
    assert not out.exists()


def test_bad_files(grey, bits, tmp_path):
    source, file, out = tmp_path / "x.npz", tmp_path / "x.gjx", tmp_path / "y.npz"
    np.savez(source, x=noise(2, 8, 8))
    succeed("compress", grey, source, "-o", file)
    whole = file.read_bytes()
    assert "another model" in refuse("decompress", bits, file, "-o", out)
    assert "ends in .npz" in refuse("decompress", grey, file, "-o", tmp_path / "y.png")
    assert "there is no folder" in refuse("decompress", grey, file, "-o", tmp_path / "no" / "y.npz")
    assert "no such file" in refuse("decompress", grey, tmp_path / "none.gjx", "-o", out)
    assert "was not written by gen-jax compress" in refuse("decompress", grey, source, "-o", out)
    for content in (whole[:-1], whole + b"\0", whole[:40] + b"\xff" + whole[41:], whole[:5]):
        file.write_bytes(content)
        assert "damaged" in refuse("decompress", grey, file, "-o", out) or content == whole[:5]
    header, words = container.unpack(whole)
    file.write_bytes(container.pack(header, words[::-1]))
    assert "damaged or from another machine" in refuse("decompress", grey, file, "-o", out)
    assert not out.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.gjx", "x.npz"]


HOSTILE = {
    "../x.png": "is not a valid name for a picture",
    "/x.png": "is not a valid name for a picture",
    "..": "is not a valid name for a picture",
    "a\\b.png": "is not a valid name for a picture",
    "": "is not a valid name for a picture",
    "profile": "is not a valid name for a picture",
    ".png": "is not a valid name for a picture",
    "a\0.png": "contains characters that are not allowed in a name",
    "\x1b]0;x\x07.png": "contains characters that are not allowed in a name",
    "line\nline.png": "contains characters that are not allowed in a name",
    os.fsdecode(b"\xff.png"): "contains characters that are not allowed in a name",
    "n" * 300 + ".png": "is too long for a name",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_cannot_leave_its_folder(tmp_path, name):
    picture = np.zeros((1, 3, 4, 1), np.uint8)
    content = Content("png", {name: picture, "fine.png": picture})
    with pytest.raises(InputError, match=HOSTILE[name]):
        files.write(content, tmp_path / "out", 5)
    with pytest.raises(InputError, match=HOSTILE[name]):
        container.check("png", content.entries)
    assert list(tmp_path.iterdir()) == []


def test_hostile_containers(grey, tmp_path):
    """Containers that are valid except for their names: one sentence each, and no file is left next to OUT."""
    source, file = tmp_path / "x.npz", tmp_path / "x.gjx"
    np.savez(source, one=noise(1, 8, 8), two=noise(1, 8, 8))
    succeed("compress", grey, source, "-o", file)
    header, words = container.unpack(file.read_bytes())
    left = sorted(path.name for path in tmp_path.iterdir())
    for kind, names in (
        ("npz", ("a\0b", "a\0c")),
        ("npz", ("a" * 65532, "b")),
        ("npz", ("\x1b[2J", "b")),
        ("png", ("n" * 300 + ".png", "b.png")),
        ("png", ("a\0b.png", "a\0c.png")),
        ("png", ("../b.png", "b.png")),
        ("npz", ("a", "a")),
    ):
        entries = tuple(
            dataclasses.replace(entry, name=name)
            for entry, name in zip(header.entries, names, strict=True)
        )
        file.write_bytes(
            container.pack(dataclasses.replace(header, kind=kind, entries=entries), words)
        )
        told = refuse("decompress", grey, file, "-o", tmp_path / "out.npz")
        assert "name" in told or "header makes no sense" in told
        assert told.removesuffix("\n").isprintable()
        assert sorted(path.name for path in tmp_path.iterdir()) == left
    told = dataclasses.replace(header, environment="cpu \x1b[31m\nERROR 1.2.3")
    file.write_bytes(container.pack(told, words))
    status, _, err = call("decompress", grey, file, "-o", tmp_path / "out.npz")
    assert (status, err.count("\n")) == (0, 1)
    assert r"compressed on cpu \x1b[31m\nERROR 1.2.3" in err


def test_names_that_a_folder_takes_for_one(tmp_path, monkeypatch):
    """On a disk that ignores case no file is silently lost and none is left over."""
    monkeypatch.setattr(files.Path, "__truediv__", lambda one, name: one.joinpath(name.lower()))
    picture = np.zeros((1, 3, 4, 1), np.uint8)
    with pytest.raises(InputError, match="differs in case only"):
        files.write(Content("png", {"A.png": picture, "a.png": picture}), tmp_path / "out", 5)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_without_a_word(grey, tmp_path):
    source, file, back = tmp_path / "x.npz", tmp_path / "x.gjx", tmp_path / "y.npz"
    np.savez(source, x=noise(1, 8, 8))
    for line, out in ((("compress", grey, source), file), (("decompress", grey, file), back)):
        succeed(*line, "-o", out)
        whole = out.read_bytes()
        out.write_bytes(b"mine")
        assert f"-o: {out} exists; --force overwrites it" in refuse(*line, "-o", out)
        assert out.read_bytes() == b"mine"
        succeed(*line, "-o", out, "--force")
        assert out.read_bytes() == whole
        out.unlink()
        out.symlink_to(tmp_path / "away")
        assert "exists" in refuse(*line, "-o", out)
        succeed(*line, "-o", out, "--force")
        assert not (tmp_path / "away").exists()
