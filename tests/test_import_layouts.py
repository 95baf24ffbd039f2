"""What a name, a shape or a folder says of a data set: understood, refused or asked about, never guessed."""

import os
from pathlib import Path

import numpy as np
import pytest
from originals import assert_same, grey, idx, npz, save_png
from test_cli import call

from gen_jax import InputError
from gen_jax.data.importing import importer, splits
from gen_jax.data.importing.importer import Options, Outcome


def read(*paths: Path, **options) -> tuple[importer.Content, list[str]]:
    return importer.read(list(paths), Options(**options))


def refusal(*paths: Path, **options) -> str:
    with pytest.raises(InputError) as error:
        read(*paths, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def pictures(folder: Path, count: int = 20, seed: int = 0) -> None:
    for i in range(count):
        save_png(folder / f"{i:02}.png", np.full((2, 3), 10 * seed + i, np.uint8))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Train", "TRAINING")),
        *((name, "validation") for name in ("val", "valid", "Validation", "VAL")),
        *((name, "test") for name in ("test", "Test", "testing")),
        *((name, None) for name in ("latest", "contest", "valley", "trainer", "rain", "text", "")),
    ],
)
def test_a_split_is_a_whole_name_in_any_case(name, split):
    assert splits.split_of(name) == split
    assert splits.nearly(name) == split


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train1", "trainset", "my_train", "TrainImages", "trian")),
        *((name, "test") for name in ("tests", "test-2", "tset", "testdata", "test_tube", "tst")),
        *((name, "validation") for name in ("valset", "vaild", "val2017", "dev", "eval")),
        ("trainval", "train"),
    ],
)
def test_what_nearly_says_a_split_is_none(name, split):
    assert splits.split_of(name) is None
    assert splits.nearly(name) == split


def test_folders_of_splits_in_any_case(tmp_path):
    """`Train` and `Test` are no classes, and their images stay where they are."""
    pictures(tmp_path / "Train", 20)
    pictures(tmp_path / "Test", 5, seed=9)
    content, notes = read(tmp_path)
    assert {split: len(x) for split, x in content.x.items()} == {"train": 20, "test": 5}
    assert content.x["test"].min() == 90
    assert (content.class_names, content.labels) == ([], {})
    assert notes[0] == "the files have no validation split"
    pictures(tmp_path / "val", 4)
    assert len(read(tmp_path)[0].x["validation"]) == 4
    pictures(tmp_path / "VALID", 4)
    assert refusal(tmp_path) == f"{tmp_path} has a split twice: VALID, val"


def test_folders_that_nearly_say_a_split_are_asked_about(tmp_path):
    pictures(tmp_path / "cars")
    pictures(tmp_path / "train_station", seed=1)
    sentence = refusal(tmp_path)
    assert sentence.startswith(
        f"{tmp_path}/train_station looks like the split train; rename it to tra"
    )
    content, _ = read(tmp_path, classes=True)
    assert content.class_names == ["cars", "train_station"]
    (tmp_path / "train_station").rename(tmp_path / "train")
    assert "is next to the split folder" in refusal(tmp_path)
    assert read(tmp_path, classes=True)[0].class_names == ["cars", "train"]


def test_what_is_no_data_is_passed_over_and_named(tmp_path):
    """Hidden files, what file managers leave, an empty class: one sentence, each once."""
    for name in ("a", "b", "c"):
        pictures(tmp_path / name)
    for place in (".DS_Store", "Thumbs.db", "a/Thumbs.db", "c/desktop.ini"):
        (tmp_path / place).write_bytes(b"\xd0\xcf")
    (tmp_path / "__MACOSX" / "a").mkdir(parents=True)
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    content, notes = read(tmp_path)
    assert content.class_names == ["a", "c"]
    told = {"__MACOSX (a folder)", ".DS_Store", "Thumbs.db", "desktop.ini", "b (empty)"}
    [sentence] = [note for note in notes if note.startswith("ignored: ")]
    assert set(sentence.removeprefix("ignored: ").split(", ")) == told


def test_the_first_class_may_be_empty(tmp_path):
    (tmp_path / "a").mkdir()
    pictures(tmp_path / "b")
    assert read(tmp_path)[0].class_names == ["b"]
    (tmp_path / "c" / "d.png").mkdir(parents=True)
    assert refusal(tmp_path) == f"{tmp_path}/c/d.png is a folder inside a class folder"
    (tmp_path / "c" / "d.png").rename(tmp_path / "d.png")
    assert refusal(tmp_path) == f"{tmp_path}/d.png is a folder, not a file"


def test_what_would_never_end_is_refused(tmp_path):
    """A pipe among the files, a device by a link: at once, in words."""
    pictures(tmp_path / "in", 3)
    os.mkfifo(tmp_path / "in" / "x.png")
    assert refusal(tmp_path / "in") == f"{tmp_path}/in/x.png is a pipe, not a regular file"
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("zero", "zero.npz", "zero.wav", "zero.txt", "zero.gz"):
        if name != "zero":
            (tmp_path / name).symlink_to("/dev/zero")
        assert refusal(tmp_path / name) == f"{tmp_path}/{name} is a device, not a regular file"


def test_names_that_are_no_text(tmp_path):
    """Bytes of another encoding in a class or a file: a sentence that can be printed."""
    for place in (os.fsdecode(b"ni\xf1o/a.png"), os.fsdecode(b"n/\xf1.png")):
        folder = tmp_path / place[0] / place
        save_png(folder, np.zeros((2, 2), np.uint8))
        sentence = refusal(folder.parents[1] if "o" in place else folder.parent)
        assert sentence.encode().endswith(b"has a name that is not UTF-8; rename it")
        assert "\\xf1" in sentence


def test_idx_names_say_a_split_in_a_whole_word(tmp_path):
    x = grey(40)

    def file(name: str) -> Path:
        (tmp_path / name).write_bytes(idx(x))
        return tmp_path / name

    content, notes = read(file("latest-images-idx3-ubyte"))
    assert {split: len(part) for split, part in content.x.items()} == {
        "train": 36, "validation": 2, "test": 2,
    }  # fmt: skip
    assert notes[0] == "latest-images-idx3-ubyte does not name a split: everything is one set"
    content, notes = read(file("Val-images-idx3-ubyte"))
    assert {split: len(part) for split, part in content.x.items()} == {"validation": 40}
    assert notes[0] == "the files have no train and no test split"
    assert "testing2-images.idx looks like the split test; rename it" in refusal(
        file("testing2-images.idx")
    )
    assert "train-test.idx names several splits: test, train" in refusal(file("train-test.idx"))
    both = refusal(file("train-images.idx"), file("more.idx"))
    assert (
        both
        == f"{tmp_path}/more.idx does not name a split, but {tmp_path}/train-images.idx names train"
    )


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("Train", "train_labels", "TEST", "test_labels"),
        ("train_x", "train_y", "test_x", "test_y"),
    ],
)
def test_keys_of_other_libraries(tmp_path, keys):
    """Keras, scikit-learn, MedMNIST, whose labels have a second axis of one."""
    x, y = grey(9), np.arange(9) % 3
    arrays = (x, y[:, None], x[:3], y[:3])
    npz(tmp_path / "a.npz", **dict(zip(keys, arrays, strict=True)))
    content, _ = read(tmp_path / "a.npz")
    assert_same(content.x["train"], x[..., None])
    assert_same(content.labels["train"], y.astype(np.int32))
    assert_same(content.labels["test"], y[:3].astype(np.int32))


def test_keys_that_are_unclear(tmp_path):
    x = grey(9)
    np.savez(tmp_path / "a.npz", train=x, x_train=x)
    assert refusal(tmp_path / "a.npz").endswith("has a split twice: train, x_train")
    np.savez(tmp_path / "a.npz", train=x, x_tset=x)
    assert "array 'x_tset' is neither a split nor labels of one (did you mean x_test" in refusal(
        tmp_path / "a.npz"
    )
    np.savez(tmp_path / "a.npz", train=x, train_labels=np.zeros((9, 2), int))
    assert "'train_labels' has shape (9, 2), but there are 9" in refusal(tmp_path / "a.npz")


def test_channels_first_are_asked_about(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 7)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", test=x)
    sentence = refusal(tmp_path / "a.npz")
    assert (
        "has shape (9, 3, 8, 7): its last axis, 7, is not a plausible number of channels"
        in sentence
    )
    assert "--channels-first reads it as x.transpose(0, 2, 3, 1)" in sentence
    first, last = (read(tmp_path / "a.npz", channels=which)[0] for which in ("first", "last"))
    assert_same(first.x["test"], x.transpose(0, 2, 3, 1))
    assert_same(last.x["test"], x)
    (tmp_path / "test.idx").write_bytes(idx(x))
    assert "--channels-first reads it" in refusal(tmp_path / "test.idx")
    assert_same(read(tmp_path / "test.idx", channels="first")[0].x["test"], first.x["test"])


@pytest.mark.parametrize(
    ("shape", "clear"),
    [
        ((8, 8, 1), True), ((8, 8, 3), True), ((8, 8, 4), True), ((8, 8, 2), True),
        ((3, 8, 3), True), ((3, 8, 4), False), ((1, 8, 2), False), ((8, 8, 5), False),
        ((3, 4, 4), False), ((1, 28, 28), False), ((12, 12, 12), False),
    ],
)  # fmt: skip
def test_the_last_axis_is_taken_where_it_can_only_be_channels(tmp_path, shape, clear):
    np.savez(tmp_path / "a.npz", test=np.zeros((2, *shape), np.uint8))
    if clear:
        assert read(tmp_path / "a.npz")[0].shape == shape
    else:
        assert "--channels-last unchanged" in refusal(tmp_path / "a.npz")
    assert read(tmp_path / "a.npz", channels="last")[0].shape == shape


def test_options_of_other_kinds_are_refused(tmp_path):
    pictures(tmp_path / "in", 3)
    np.savez(tmp_path / "a.npz", test=grey(3))
    assert "--channels-first is for arrays, " in refusal(tmp_path / "in", channels="first")
    assert "--channels-last is for arrays of 4 axes" in refusal(tmp_path / "a.npz", channels="last")
    assert "--classes is for folders of files" in refusal(tmp_path / "a.npz", classes=True)
    assert "--short is for sound" in refusal(tmp_path / "a.npz", short="pad")


def test_booleans_and_times(tmp_path):
    """Booleans are levels and classes 0 and 1; a time is no integer, whatever numpy says."""
    x = np.random.default_rng(0).integers(0, 2, (9, 4, 4))
    np.savez(tmp_path / "a.npz", test=x.astype(bool), test_labels=x[:, 0, 0].astype(bool))
    content, _ = read(tmp_path / "a.npz")
    assert_same(content.x["test"], x.astype(np.uint8)[..., None])
    assert_same(content.labels["test"], x[:, 0, 0].astype(np.int32))
    assert content.levels == 2
    np.savez(tmp_path / "a.npz", test=x.astype("timedelta64[s]"))
    assert "is timedelta64[s]; only integers are imported" in refusal(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", test=x, test_labels=x[:, 0, 0].astype("timedelta64[s]"))
    assert "is timedelta64[s]; labels are integers" in refusal(tmp_path / "a.npz")


def test_classes_with_too_few_examples_are_named(tmp_path):
    pictures(tmp_path / "many", 20)
    pictures(tmp_path / "few", 3, seed=3)
    content, notes = read(tmp_path)
    assert "too few examples: class 0 'few' (3) has none in validation" in notes
    pictures(tmp_path / "other" / "one", 1)
    pictures(tmp_path / "other" / "two", 3)
    assert "(each class is divided separately: 0 'one' has 1, 1 'two' has 3)" in refusal(
        tmp_path / "other"
    )
    lines = Outcome("x", tmp_path, content, notes).sentences()
    assert lines[-3:] == [
        "20 train, 1 validation, 2 test: images 2 high, 3 wide, 1 channel, of 256 levels",
        "2 classes with their examples: 0 'few' (3), 1 'many' (20)",
        f"x is in {tmp_path}",
    ]


@pytest.mark.parametrize("kind", ["npz", "gz"])
def test_a_file_that_unpacks_to_too_much_is_refused_by_its_header(tmp_path, kind):
    """68 MB of zeros in 68 kB; nothing of them is unpacked, and a limit of one's own decides."""
    path, zeros = tmp_path / f"test.{kind}", np.zeros((68, 1000, 1000), np.uint8)
    if kind == "npz":
        np.savez_compressed(path, test=zeros)
    else:
        import gzip

        path.write_bytes(gzip.compress(idx(zeros), 1))
    assert refusal(path) == (
        f"{path} unpacks to 68,000,000 bytes, the limit is 67,108,864; --max-bytes 68000000 allows it"
    )
    assert "the limit is 67,999,999" in refusal(path, max_bytes=67_999_999)
    assert read(path, max_bytes=68_000_000)[0].shape == (1000, 1000, 1)


def test_the_command_takes_its_options(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 7)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", test=x)
    line = ("data", "import", "mine", tmp_path / "a.npz", "--data-dir", tmp_path / "data")
    status, _, err = call(*line)
    assert (status, err.count("\n")) == (2, 1)
    status, out, _ = call(*line, "--channels-first", "--max-bytes", x.size)
    assert status == 0
    assert "9 test: images 8 high, 7 wide, 3 channels, of 256 levels\nno classes\n" in out
    for extra in (["--channels-first", "--channels-last"], ["--short", "cut"]):
        assert call(*line, *extra)[0] == 2
