"""What `gen-jax data import` refuses: one sentence, status 2, and a data folder that is as before."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from bad_files import npz_files, other_files, png_files
from originals import assert_same, grey, idx, save_png
from test_cli import call

from gen_jax import InputError
from gen_jax.data import formats, opening
from gen_jax.data.importing import importer
from gen_jax.data.importing.importer import Options, import_files
from gen_jax.data.png import read_png


def snapshot(root: Path) -> dict:
    return {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder of files that no import should take, and `there`, a data folder with one set."""
    folder = tmp_path_factory.mktemp("bad")
    npz_files(folder)
    png_files(folder)
    other_files(folder)
    import_files("taken", [folder / "good.npz"], data_dir=folder / "there")
    import_files("hurt", [folder / "good.npz"], data_dir=folder / "there")
    for path in (folder / "there" / "hurt" / "1.0.0").glob("*train*"):
        path.write_bytes(b"")
    (folder / "there" / "file").write_text("no data set")
    return folder


REFUSED = [
    # the name
    ("Mine {bad}/good.npz", "'Mine' cannot name a data set"),
    ("my-set {bad}/good.npz", "'my-set' cannot name a data set"),
    ("1st {bad}/good.npz", "'1st' cannot name a data set"),
    ("../x {bad}/good.npz", "'../x' cannot name a data set"),
    ("digits {bad}/good.npz", "run `gen-jax data prepare digits` or choose another name"),
    (
        "taken {bad}/high.npz",
        "already exists with other content; choose another name, or remove it",
    ),
    ("taken {bad}/good.npz --levels 3", "or remove it: rm -r {bad}/there/taken"),
    ("hurt {bad}/good.npz", "the prepared data set at {bad}/there/hurt/1.0.0 is damaged"),
    ("file {bad}/good.npz", "{bad}/there/file already exists and was not imported"),
    # the paths
    ("x {bad}/nowhere.npz", "no such file or folder: {bad}/nowhere.npz"),
    ("x {bad}/a.doc", "{bad}/a.doc has an unknown format"),
    ("x {bad}/good.npz {bad}/a.txt", "{bad}/good.npz is .npz, {bad}/a.txt is text"),
    ("x {bad}/plain {bad}/c10", "{bad}/plain is PNG, {bad}/c10 is CIFAR binary; import one kind"),
    ("x {bad}/good.npz {bad}/few.npz", "a data set is one .npz file, not 2"),
    ("x {bad}/good.npz {bad}/../{bad.name}/good.npz", "good.npz is given twice"),
    ("x {bad}/a.txt {bad}/b.txt", "a data set is one text file, not 2"),
    ("x {bad}/plain {bad}/sizes", "a data set is one folder of PNG files, not 2"),
    ("x {bad}/empty", "{bad}/empty is empty"),
    ("x {bad}/hidden", "{bad}/hidden is empty"),
    ("x {bad}/odd", "{bad}/odd/a.jpg is a JPEG file; --convert rgb or --convert grey converts"),
    # the options
    ("x {bad}/good.npz --levels 1", "--levels should be 2 to 65536, not 1"),
    ("x {bad}/good.npz --levels 65537", "--levels should be 2 to 65536"),
    (
        "x {bad}/good.npz --length 3",
        "--length is for text, sound and pieces, {bad}/good.npz has no *_lengths",
    ),
    (
        "x {bad}/good.npz --tiles 2",
        "good.npz: array 'train' has no images; --tiles is for images",
    ),
    ("x {bad}/a.txt --tiles 2", "--tiles is for images, {bad}/a.txt is text"),
    ("x {bad}/images.npz --tiles 5", "images.npz: array 'test' is 4x5, too small for --tiles 5"),
    (
        "x {bad}/sizes --tiles 7 --split train=1",
        "{bad}/sizes/a.png is 6x6, too small for --tiles 7",
    ),
    ("x {bad}/few.npz --split trian=1", "'trian' is not train, validation or test (did you mean"),
    ("x {bad}/few.npz --split train=0.5", "the shares of 'train=0.5' add up to 0.5, not 1"),
    (
        "x {bad}/few.npz --split train=nan",
        "share of train should be a number like 0.8 or 4/5, not 'nan'",
    ),
    ("x {bad}/few.npz --split train=1,test=0/1", "the share of test should be a number like"),
    ("x {bad}/few.npz --split valid=.5,validation=.5", "--split names validation twice"),
    ("x {bad}/good.npz --split train=.5,test=.5", "names test, which the files already have"),
    ("x {bad}/images.npz --split train=1", "the files have only test"),
    ("x {bad}/few.npz", "few.npz: array 'train': 3 examples are too few, split validation would"),
    # .npz
    ("x {bad}/cut.npz", "{bad}/cut.npz is not a readable .npz file: it is truncated or not a zip"),
    ("x {bad}/noarray.npz", "{bad}/noarray.npz: 'train' is not an array"),
    ("x {bad}/other.npz", "{bad}/other.npz should contain at least one of the arrays train"),
    ("x {bad}/other.npz", "it contains images"),
    (
        "x {bad}/typo.npz",
        "{bad}/typo.npz: array 'tset' is neither a split nor labels of one (did you",
    ),
    ("x {bad}/twice.npz", "{bad}/twice.npz has a split twice: valid, validation"),
    ("x {bad}/float.npz", "{bad}/float.npz: array 'test' is float32; only integers are imported"),
    ("x {bad}/nan.npz", "{bad}/nan.npz: array 'train' is float64 and contains NaN; only integers"),
    ("x {bad}/words.npz", "{bad}/words.npz: array 'train' is <U1; only integers are imported"),
    ("x {bad}/object.npz", "array 'train' contains Python objects, which are never unpickled"),
    ("x {bad}/scalar.npz", "array 'train' has shape (); it should be (N, D), (N, H, W) or"),
    ("x {bad}/empty.npz", "array 'train' has shape (0, 3): it contains no examples"),
    ("x {bad}/negative.npz", "array 'valid': values run from -1 to 1, but levels count from 0"),
    (
        "x {bad}/high.npz --levels 200",
        "array 'test': values run from 0 to 200, --levels 200 allows",
    ),
    (
        "x {bad}/wide.npz --split train=1",
        "values run from 0 to 256, for more than 255 give --levels",
    ),
    ("x {bad}/shapes.npz", "shapes.npz: array 'test' has examples of shape (2,), {bad}/shapes.npz"),
    ("x {bad}/short.npz", "array 'train_labels' has shape (2,), but there are 3 examples"),
    ("x {bad}/minus.npz", "array 'train_labels': labels run from -1 to 1"),
    ("x {bad}/half.npz", "array 'train_labels' is float64; labels are integers"),
    ("x {bad}/some.npz", "some.npz: array 'test' has no labels, but other splits have"),
    ("x {bad}/lonely.npz", "array 'test_labels' has labels for a missing split"),
    # PNG
    (
        "x {bad}/sizes",
        "sizes/b.png is 6x7, {bad}/sizes/a.png is 6x6; images of different sizes need",
    ),
    ("x {bad}/mixed", "{bad}/mixed/b.png is 8-bit colour, {bad}/mixed/a.png is 8-bit grey"),
    ("x {bad}/mixed --tiles 2", "{bad}/mixed/b.png is 8-bit colour"),
    ("x {bad}/bits", "{bad}/bits/b.png is 1-bit grey, {bad}/bits/a.png is 8-bit grey"),
    ("x {bad}/notpng", "{bad}/notpng/b.png is not a PNG file"),
    ("x {bad}/text", "{bad}/text/notes.md is not a PNG file"),
    ("x {bad}/cutpng", "{bad}/cutpng/b.png is a broken PNG: it is truncated"),
    (
        "x {bad}/crc",
        "{bad}/crc/b.png is a broken PNG: broken PNG file (bad header checksum in b'ID",
    ),
    ("x {bad}/little", "{bad}/little/a.png is a broken PNG: image file is truncated"),
    ("x {bad}/bomb", "{bad}/bomb/b.png unpacks to 3,600,000,000 bytes, the limit is 67,108,864"),
    ("x {bad}/large", "{bad}/large/b.png unpacks to 100,000,000 bytes, the limit is 67,108,864"),
    (
        "x {bad}/bright --levels 9 --split train=1/3,test=2/3",
        "{bad}/bright/b.png: values run from 0",
    ),
    ("x {bad}/wide16", "{bad}/wide16/b.png is a PNG of kind 16-bit grey; only 1-bit grey, 2-bit"),
    ("x {bad}/rgb16", "{bad}/rgb16/a.png is a PNG of kind 16-bit colour"),
    ("x {bad}/grey2", "{bad}/grey2/b.png is 8-bit grey, {bad}/grey2/a.png is 2-bit grey"),
    ("x {bad}/P", "{bad}/P/a.png is a PNG of kind 8-bit palette"),
    ("x {bad}/LA", "{bad}/LA/a.png is a PNG of kind grey with alpha"),
    ("x {bad}/RGBA", "{bad}/RGBA/a.png is a PNG of kind colour with alpha"),
    ("x {bad}/clear", "{bad}/clear/a.png is a PNG of kind transparent"),
    ("x {bad}/moving", "{bad}/moving/a.png is a PNG of kind animated"),
    ("x {bad}/plain/a.png --levels 9 --split train=1", "{bad}/plain/a.png: values run from"),
    ("x {bad}/beside", "{bad}/beside/other is next to the split folder {bad}/beside/train"),
    ("x {bad}/loose", "{bad}/loose/b.png is next to the split folder {bad}/loose/train"),
    ("x {bad}/deep", "{bad}/deep/x/y is a folder inside a class folder"),
    ("x {bad}/files", "{bad}/files contains both files and folders: b.png, x"),
    ("x {bad}/partly", "{bad}/partly/test/a.png is not in a class folder, but others are"),
    ("x {bad}/hollow", "{bad}/hollow is empty"),
    # idx
    (
        "x {bad}/idx/magic.idx",
        "{bad}/idx/magic.idx is not an idx file: its magic number is 0x00010803",
    ),
    ("x {bad}/idx/type.idx", "{bad}/idx/type.idx: magic number 0x00000d03 is of type 0x0d"),
    ("x {bad}/idx/cut.idx", "{bad}/idx/cut.idx is truncated: shape (3, 4, 5) needs 60 bytes"),
    ("x {bad}/idx/huge.idx", "{bad}/idx/huge.idx is truncated: shape (4294967295,"),
    ("x {bad}/idx/sides.idx", "{bad}/idx/sides.idx is truncated: its shape is missing"),
    ("x {bad}/idx/long.idx", "{bad}/idx/long.idx is too long: bytes follow the 60"),
    ("x {bad}/idx/one.idx {bad}/idx/other.idx", "are both images of split train"),
    ("x {bad}/idx/labels.idx", "{bad}/idx/labels.idx labels split train, which has no images"),
    ("x {bad}/idx/train-labels-idx1-ubyte.idx", "is named labels, its magic number says 3 axes"),
    (
        "x {bad}/idx/one.idx {bad}/idx/fewer.idx",
        "fewer.idx has shape (2,), but there are 3 examples",
    ),
    ("x {bad}/damaged.gz", "{bad}/damaged.gz is a damaged gzip file: "),
    ("x {bad}/cut.gz", "{bad}/cut.gz is a damaged gzip file: "),
    ("x {bad}/text.gz", "{bad}/text.gz is not an idx file: its magic number is 0x706c6169"),
    ("x {bad}/idxplus", "{bad}/idxplus/readme is not an idx file, but others in the folder are"),
    # CIFAR
    (
        "x {bad}/c10",
        "{bad}/c10/test_batch.bin has 3072 bytes, not a multiple of the 3073 of a CIFAR-10",
    ),
    ("x {bad}/c100/train.bin", "{bad}/c100/train.bin has label 100, CIFAR-100 has 0 to 99"),
    ("x {bad}/c100/test.bin", "{bad}/c100/test.bin has 0 bytes, not a multiple of the 3074"),
    ("x {bad}/cx", "{bad}/cx/data.bin is not named like a CIFAR file"),
    ("x {bad}/c10/data_batch_1.bin {bad}/c100/test.bin", "is of CIFAR-100"),
    ("x {bad}/c10/data_batch_1.bin {bad}/again/data_batch_1.bin", "are the same batch"),
    # text
    ("x {bad}/empty.txt", "{bad}/empty.txt has 0 distinct bytes, a text needs at least 2"),
    ("x {bad}/b.txt", "{bad}/b.txt has 1 distinct bytes"),
    ("x {bad}/a.txt", "{bad}/a.txt: split train has 16 bytes, fewer than a window of 128"),
    ("x {bad}/a.txt --length 4", "{bad}/a.txt: split validation has 1 bytes, fewer than a window"),
    ("x {bad}/a.txt --length 4 --levels 3 --split train=1", "--levels 3 allows 0 to 2"),
]


@pytest.mark.parametrize(("line", "words"), REFUSED, ids=[line for line, _ in REFUSED])
def test_a_bad_import_is_refused_in_one_line(bad, line, words):
    """Status 2, one sentence, no output, and the data folder as it was to the byte."""
    before = snapshot(bad / "there")
    arguments = line.format(bad=bad).split()
    status, out, err = call("data", "import", *arguments, "--data-dir", bad / "there")
    assert (status, out) == (2, ""), err
    assert err.startswith("gen-jax: ")
    assert len(err.splitlines()) == 1, err
    assert words.format(bad=bad) in err
    assert snapshot(bad / "there") == before


def test_a_refusal_makes_no_data_folder(bad, tmp_path):
    status, _, _ = call("data", "import", "x", bad / "cut.npz", "--data-dir", tmp_path / "a" / "b")
    assert status == 2
    assert list(tmp_path.iterdir()) == []


def test_every_damaged_byte_of_a_png_is_seen(tmp_path):
    good = save_png(tmp_path / "a.png", grey(1, 3, 3)[0]).read_bytes()
    damaged = [good[:end] for end in range(len(good))]
    for at in range(len(good)):
        damaged.append(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    for content in damaged:
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.png is (not a PNG file|a broken PNG: [^<]+)$"):
            read_png(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["npz", "gz"])
def test_every_damaged_byte_is_seen_or_harmless(tmp_path, kind):
    """Where a byte means nothing (a date, padding) the array is the same; a file cut anywhere is refused."""
    x, path = grey(2, 3, 3), tmp_path / f"a.{kind}"
    np.savez_compressed(tmp_path / "a.npz", test=x)
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(x)))
    good = path.read_bytes()

    def read():
        if kind == "gz":
            return formats.read_idx(path)
        return importer.read([path], Options())[0].x["test"][..., 0]

    assert_same(read(), x)
    for end in range(len(good)):
        path.write_bytes(good[:end])
        with pytest.raises(InputError, match=rf"a\.{kind}"):
            read()
    seen = 0
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        try:
            array = read()
        except InputError:
            seen += 1
        else:
            assert_same(array, x)
    assert seen > len(good) / 2


def test_an_unreadable_file_is_named(bad, tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(opening, "open_regular", refuse)
    with pytest.raises(InputError) as refusal:
        import_files("x", [bad / "plain"], data_dir=tmp_path)
    assert str(refusal.value) == f"cannot read {bad}/plain/a.png: Permission denied"
