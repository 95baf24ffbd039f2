"""Files of the user's own to prepared data sets: bit for bit, in every format."""

import contextlib
import gzip
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from originals import RNG, assert_same, grey, idx, records, save_png, text_of

from gen_jax import image
from gen_jax.cli import main
from gen_jax.data import prepared
from gen_jax.data.importing import rules, writer
from gen_jax.data.importing.importer import Options, import_files
from gen_jax.typing import binary, tokens


def colour(count, height=4, width=5):
    return RNG.integers(0, 256, (count, height, width, 3), np.uint8)


def load(name, root, split="train"):
    return prepared.load(name, split, root)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "data"


def test_npz_images_and_labels(tmp_path, root):
    """Grey images get a channel; the class count is over all splits; index is the place in the array."""
    x = {"train": grey(7), "valid": grey(3), "test": grey(2)}
    y = {"train": np.arange(7) % 3, "valid": np.array([4, 0, 1]), "test": np.array([2, 2])}
    labels = {f"{name}_labels": values for name, values in y.items()}
    np.savez(tmp_path / "a.npz", **x, **labels)
    done = import_files("mine", [tmp_path / "a.npz"], data_dir=root)
    for array, split in (("train", "train"), ("valid", "validation"), ("test", "test")):
        read = load("mine", root, split)
        assert_same(read.x, x[array][..., None])
        assert_same(read.labels, y[array].astype(np.int32))
        assert (read.event, read.num_classes, read.version) == (image(4, 5), 5, "1.0.0")
    assert done.folder == root / "mine" / "1.0.0"
    source = tfds.builder_from_directory(done.folder).as_data_source("train")
    assert [example["index"] for example in source] == list(range(7))
    sentence, missing = done.notes
    assert sentence.startswith("256 levels by default; values run from ")
    assert missing.startswith(
        "too few examples: class 0 (4) has none in test; class 1 (3) has none"
    )
    assert missing.endswith("class 4 (1) has none in train and test")


@pytest.mark.parametrize(
    ("array", "levels", "event", "dtype"),
    [
        (np.array([[0, 1, 1], [1, 0, 0]], np.int64), None, binary(3), np.uint8),
        (np.array([[True, False], [False, False]]), None, binary(2), np.uint8),
        (np.array([[0, 2, 16]], ">i4"), None, tokens(3, 256), np.uint8),
        (np.array([[0, 2, 16]], np.int8), 17, tokens(3, 17), np.uint8),
        (np.array([[0, 256, 999]], np.int64), 1000, tokens(3, 1000), np.uint16),
        (np.array([[0, 65535]], np.uint64), 65536, tokens(2, 65536), np.uint16),
        (np.zeros((2, 3, 4, 5), np.uint8), 4, image(3, 4, 5, 4), np.uint8),
    ],
)
def test_npz_levels_and_types(tmp_path, root, array, levels, event, dtype):
    np.savez_compressed(tmp_path / "a.npz", test=array)
    many = "last" if array.ndim == 4 else None  # five channels are not taken without a word
    import_files("mine", [tmp_path / "a.npz"], Options(levels=levels, channels=many), root)
    read = load("mine", root, "test")
    assert_same(read.x, array.astype(dtype))
    assert (read.event, read.labels, read.num_classes) == (event, None, 0)


def test_two_levels_only_where_every_split_has_them(tmp_path, root):
    np.savez(tmp_path / "a.npz", train=np.array([[0, 1]]), test=np.array([[0, 2]]))
    import_files("mine", [tmp_path / "a.npz"], data_dir=root)
    assert load("mine", root).event.levels == 256


def test_train_alone_is_split_in_order(tmp_path, root):
    x = np.arange(40, dtype=np.uint8)[:, None]
    np.savez(tmp_path / "a.npz", train=x)
    done = import_files("mine", [tmp_path / "a.npz"], data_dir=root)
    for split, rows in (("train", x[:36]), ("validation", x[36:38]), ("test", x[38:])):
        assert_same(load("mine", root, split).x, rows)
    assert done.notes[0] == (
        "40 examples are split by default (train=0.9,validation=0.05,test=0.05), in order:"
        " train 36, validation 2, test 2"
    )
    import_files("other", [tmp_path / "a.npz"], Options(split="test=1/4,train=.75"), root)
    assert_same(load("other", root, "test").x, x[30:])
    import_files("all", [tmp_path / "a.npz"], Options(split="train=1"), root)
    assert_same(load("all", root).x, x)


def test_a_missing_split_is_cut_out_of_train(tmp_path, root):
    x, valid = np.arange(10, dtype=np.uint8)[:, None], np.full((3, 1), 7, np.uint8)
    np.savez(tmp_path / "a.npz", train=x, valid=valid)
    done = import_files("mine", [tmp_path / "a.npz"], data_dir=root)
    assert done.notes[0] == "the files have no test split"
    assert done.record()["splits"] == {"train": 10, "validation": 3}
    import_files("cut", [tmp_path / "a.npz"], Options(split="train=0.8,test=0.2"), root)
    for split, rows in (("train", x[:8]), ("test", x[8:]), ("validation", valid)):
        assert_same(load("cut", root, split).x, rows)


def test_each_class_is_split_by_itself(tmp_path, root):
    """So a set sorted by class has all classes everywhere; the order stays."""
    x, y = np.arange(20, dtype=np.uint8)[:, None], np.repeat([0, 1], 10)
    np.savez(tmp_path / "a.npz", train=x, train_labels=y)
    import_files("mine", [tmp_path / "a.npz"], Options(split="train=0.7,test=0.3"), root)
    assert_same(load("mine", root, "test").x[:, 0], np.array([7, 8, 9, 17, 18, 19], np.uint8))
    assert_same(load("mine", root, "test").labels, np.array([0, 0, 0, 1, 1, 1], np.int32))
    np.savez(tmp_path / "b.npz", train=x, train_labels=np.tile([0, 1], 10))
    import_files("mixed", [tmp_path / "b.npz"], Options(split="train=0.7,test=0.3"), root)
    assert_same(load("mixed", root, "test").x, x[14:])


def test_shares_are_exact():
    assert rules.bounds(10, rules.parse_shares("train=0.7,validation=0.2,test=0.1")) == {
        "train": (0, 7),
        "validation": (7, 9),
        "test": (9, 10),
    }
    assert list(rules.bounds(3, rules.parse_shares("valid=1/3,train=2/3")).values()) == [
        (0, 2),
        (2, 3),
    ]


def test_png_flat_folder(tmp_path, root):
    x = colour(20)
    for i, pixels in enumerate(x):
        save_png(tmp_path / "in" / f"{i:02}.{'PNG' if i % 2 else 'png'}", pixels)
    (tmp_path / "in" / ".hidden").write_text("ignored")
    import_files("mine", [tmp_path / "in"], data_dir=root)
    for split, rows in (("train", x[:18]), ("validation", x[18:19]), ("test", x[19:])):
        assert_same(load("mine", root, split).x, rows)
    np.savez(tmp_path / "a.npz", train=x)
    files = sorted((tmp_path / "in").glob("[0-9]*"))
    done = import_files("files", files, data_dir=root)
    again = import_files("arrays", [tmp_path / "a.npz"], data_dir=root)
    assert done.record()["checksum"] == again.record()["checksum"]


def test_png_splits_and_classes(tmp_path, root):
    """Classes are the sorted names over all splits; images go by name within class."""
    x = grey(6)
    places = ["train/b/0", "train/a/1", "train/a/0", "valid/c/0", "test/b/1", "test/a/7"]
    for place, pixels in zip(places, x, strict=True):
        save_png(tmp_path / "in" / f"{place}.png", pixels)
    done = import_files("mine", [tmp_path / "in"], data_dir=root)
    for split, order, labels in (
        ("train", [2, 1, 0], [0, 0, 1]),
        ("validation", [3], [2]),
        ("test", [5, 4], [0, 1]),
    ):
        read = load("mine", root, split)
        assert_same(read.x, x[order][..., None])
        assert_same(read.labels, np.array(labels, np.int32))
        assert read.num_classes == 3
    metadata = json.loads((done.folder / "metadata.json").read_text())
    assert metadata["class_names"] == ["a", "b", "c"]
    assert metadata["checksum"] == done.record()["checksum"] == writer.checksum(done.content)


def test_png_of_one_bit_has_two_levels(tmp_path, root):
    x = RNG.integers(0, 2, (2, 3, 11)).astype(bool)
    for split, pixels in zip(("train", "test"), x, strict=True):
        save_png(tmp_path / "in" / split / "0.png", pixels)
    import_files("mine", [tmp_path / "in"], data_dir=root)
    assert_same(load("mine", root, "test").x, x[1:, ..., None].astype(np.uint8))
    assert load("mine", root).event == image(3, 11, levels=2)


def test_tiles_rebuild_their_image(tmp_path, root):
    """Two sizes, borders dropped and told, tiles of an image in its own split."""
    tall, wide = colour(1, 9, 4)[0], colour(1, 5, 8)[0]
    save_png(tmp_path / "in" / "a.png", tall)
    save_png(tmp_path / "in" / "b.png", wide)
    options = Options(tiles=4, split="train=0.5,test=0.5")
    done = import_files("mine", [tmp_path / "in"], options, root)
    assert_same(load("mine", root).x, np.stack([tall[:4], tall[4:8]]))
    assert_same(load("mine", root, "test").x, np.stack([wide[:4, :4], wide[:4, 4:]]))
    assert done.notes[2] == (
        "2 images are cut into 4 tiles of 4x4; 12 of 76 pixels (15.8%) at the borders are dropped"
    )
    x = grey(2, 4, 6)
    np.savez(tmp_path / "a.npz", test=x, test_labels=[1, 0])
    import_files("npz", [tmp_path / "a.npz"], Options(tiles=2), root)
    read = load("npz", root, "test")
    rebuilt = read.x.reshape(2, 2, 3, 2, 2).swapaxes(2, 3).reshape(x.shape)
    assert_same(rebuilt, x)
    assert_same(read.labels, np.repeat([1, 0], 6).astype(np.int32))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx(tmp_path, root, ending):
    """By the standard names in a folder, and by magic number alone."""
    x, y = {"train": grey(5), "t10k": grey(3)}, {"train": np.arange(5), "t10k": np.array([9, 0, 1])}
    pack = gzip.compress if ending else bytes
    (tmp_path / "in").mkdir()
    for name in x:
        (tmp_path / "in" / f"{name}-images-idx3-ubyte{ending}").write_bytes(pack(idx(x[name])))
        (tmp_path / "in" / f"{name}-labels-idx1-ubyte{ending}").write_bytes(pack(idx(y[name])))
    import_files("mine", [tmp_path / "in"], data_dir=root)
    for name, split in (("train", "train"), ("t10k", "test")):
        assert_same(load("mine", root, split).x, x[name][..., None])
        assert_same(load("mine", root, split).labels, y[name].astype(np.int32))
    assert load("mine", root).num_classes == 10
    pair = [tmp_path / "one", tmp_path / "two"]
    pair[0].write_bytes(pack(idx(y["train"])))
    pair[1].write_bytes(pack(idx(x["train"])))
    import_files("pair", pair, Options(split="train=1"), root)
    assert_same(load("pair", root).x, x["train"][..., None])
    assert_same(load("pair", root).labels, y["train"].astype(np.int32))


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(tmp_path, root, classes):
    """Planes become channels; batch 10 comes after batch 2; of CIFAR-100 the second label byte counts."""
    names = ["data_batch_2", "data_batch_10", "test_batch"] if classes == 10 else ["train", "test"]
    x = {name: RNG.integers(0, 256, (3, 32, 32, 3), np.uint8) for name in names}
    y = {name: RNG.integers(0, classes, 3) for name in names}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "batches.meta.txt").write_text("airplane\n")
    for name in names:
        coarse = [np.full(3, 19)] * (classes == 100)
        (tmp_path / "in" / f"{name}.bin").write_bytes(records(x[name], *coarse, y[name]))
    import_files("mine", [tmp_path / "in"], data_dir=root)
    files = [tmp_path / "in" / f"{name}.bin" for name in reversed(names)]
    import_files("files", files, data_dir=root)
    for name in ("mine", "files"):
        assert_same(load(name, root).x, np.concatenate([x[key] for key in names[:-1]]))
        assert_same(load(name, root, "test").x, x[names[-1]])
        assert_same(load(name, root, "test").labels, y[names[-1]].astype(np.int32))
        assert load(name, root).num_classes == classes


def test_text(tmp_path, root):
    """Bytes, not characters; index order gives the text back; the ragged rest is told."""
    content = "zwölf Boxkämpfer jagen Viktor\n".encode() * 9  # 288 bytes
    (tmp_path / "a.txt").write_bytes(content)
    done = import_files("mine", [tmp_path / "a.txt"], Options(length=5), root)
    assert (len(content), load("mine", root).event) == (288, tokens(5, len(set(content))))
    assert text_of("mine", done.folder, "train") == content[:255]
    assert text_of("mine", done.folder, "validation") == content[259:269]
    assert text_of("mine", done.folder, "test") == content[273:288]
    assert done.notes[0] == "train: bytes 0 to 259 of the text; the last 4 do not fill a window"
    for split, (start, stop) in {"train": (255, 259), "validation": (269, 273)}.items():
        whole = load("mine", root, split)
        assert bytes(whole.presentation["alphabet"][k] for k in whole.rest) == content[start:stop]
    assert load("mine", root, "test").rest == ()


def test_the_command_prints_what_is_there(tmp_path, root):
    np.savez(tmp_path / "a.npz", train=np.eye(4, dtype=int), test=np.eye(4, dtype=int)[:1])
    line = ["data", "import", "mine", str(tmp_path / "a.npz"), "--data-dir", str(root)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*line, "--json"]) == 0
    record = json.loads(out.getvalue())
    assert re.fullmatch("[0-9a-f]{64}", record.pop("checksum"))
    assert record == {
        "name": "mine",
        "folder": str(root / "mine" / "1.0.0"),
        "splits": {"train": 4, "test": 1},
        "shape": [4],
        "levels": 2,
        "num_classes": 0,
        "class_names": [],
        "conversion": [],
        "notes": [
            "the files have no validation split",
            "2 levels by default; all values are 0 or 1",
        ],
    }
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(line) == 0
        assert main(["data", "list", "--data-dir", str(root)]) == 0
    assert "the same data set is there already; nothing is written\n" in out.getvalue()
    assert re.search(r"mine +prepared +Imported from a\.npz\.\n", out.getvalue())
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert [path.name for path in root.iterdir()] == ["mine"]
