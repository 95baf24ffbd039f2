"""The two downsized ImageNets from a few images of 8x8: their containers and order, what is held out, damage."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from originals import RNG, assert_split, npz, png, prepare, published, refusal_of

from gen_jax import InputError, image
from gen_jax.data.builders import BUILDERS

SMALL = {"train": RNG.integers(0, 256, (260, 8, 8, 3), np.uint8)}
SMALL["valid"] = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)
KEPT = np.setdiff1d(np.arange(260), [127, 255])


@pytest.fixture
def downsampled(monkeypatch, tmp_path) -> Path:
    """Both archives of PixelRNN's release in a folder, of 260 and 5 images of 8x8, in another order than the names."""
    builder, folder = BUILDERS["downsampled_imagenet_32"], tmp_path / "originals"
    monkeypatch.setattr(builder, "SIDE", 8)
    monkeypatch.setattr(builder, "COUNTS", {key: len(x) for key, x in SMALL.items()})
    folder.mkdir()
    for key, images in SMALL.items():
        with tarfile.open(folder / f"{key}_8x8.tar", "w") as archive:
            for i in np.random.default_rng(1).permutation(len(images)):
                content = png(images[i])
                member = tarfile.TarInfo(f"{key}_8x8/{i:07}.png")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(builder, "url_infos", published(builder.URL, *folder.iterdir()))
    return folder


@pytest.mark.parametrize("extracted", [False, True])
def test_downsampled_imagenet_goes_by_file_name(downsampled, tmp_path, extracted):
    if extracted:
        for path in list(downsampled.iterdir()):
            with tarfile.open(path) as archive:
                archive.extractall(downsampled, filter="data")
            path.unlink()
    prepare("downsampled_imagenet_32", tmp_path / "data", downsampled)
    for name, expected in (
        ("train", SMALL["train"][KEPT]),
        ("validation", SMALL["train"][[127, 255]]),
        ("test", SMALL["valid"]),
    ):
        split = assert_split("downsampled_imagenet_32", name, tmp_path / "data", expected)
        assert (split.labels, split.num_classes, split.event) == (None, 0, image(8, 8, 3))


def test_downsampled_imagenet_is_read_image_by_image(downsampled, tmp_path):
    builder = BUILDERS["downsampled_imagenet_32"](data_dir=tmp_path, source=str(downsampled))
    paths = {"train": downsampled / "train_8x8.tar"}
    examples = builder._examples(paths, "train", True)
    index, pixels, _ = next(examples)
    assert index in (127, 255)
    np.testing.assert_array_equal(pixels, SMALL["train"][index])
    paths["train"].unlink()
    with pytest.raises(InputError, match="cannot be read"):
        next(examples)


def test_damaged_downsampled_imagenet_is_refused(downsampled, tmp_path, monkeypatch):
    name, data, path = "downsampled_imagenet_32", tmp_path / "data", downsampled / "valid_8x8.tar"
    content = path.read_bytes()
    path.write_bytes(content[:-512])
    assert f"{path} has {len(content) - 512} bytes" in refusal_of(name, data, downsampled)
    path.write_bytes(content[:600] + b"?" + content[601:])
    assert f"{path} is not the published file" in refusal_of(name, data, downsampled)
    path.write_bytes(content)
    monkeypatch.setattr(BUILDERS[name], "COUNTS", {"train": 260, "valid": 6})
    assert f"{path} has 5 images, not 6" in refusal_of(name, data, downsampled)
    monkeypatch.setattr(BUILDERS[name], "COUNTS", {"train": 260, "valid": 5})
    path.unlink()
    assert f"no such file: {path} or valid_8x8" in refusal_of(name, data, downsampled)
    (downsampled / "valid_8x8").mkdir()
    for i in range(5):
        (downsampled / "valid_8x8" / f"{i}.png").write_bytes(png(SMALL["valid"][i]))
    (downsampled / "valid_8x8" / "3.png").write_bytes(b"\x89PNG but no more")
    assert "3.png cannot be read" in refusal_of(name, data, downsampled)  # after train was written
    (downsampled / "valid_8x8" / "3.png").write_bytes(png(SMALL["valid"][3][:4]))
    assert "3.png has shape (4, 8, 3)" in refusal_of(name, data, downsampled)
    assert "is not a folder" in refusal_of(name, data, downsampled / "train_8x8.tar")


CLASSES = {key: RNG.integers(1, 1001, len(images)) for key, images in SMALL.items()}
BATCHES = {"train_data_batch_1": slice(100), "train_data_batch_2": slice(100, 130)}
BATCHES["train_data_batch_10"] = slice(130, 260)


def batches_of(pickled: bool) -> dict[str, bytes]:
    files = {}
    for name, key, rows in (
        *((name, "train", rows) for name, rows in BATCHES.items()),
        ("val_data", "valid", slice(None)),
    ):
        flat = SMALL[key][rows].transpose(0, 3, 1, 2).reshape(-1, 192)
        buffer, labels = io.BytesIO(), CLASSES[key][rows]
        if pickled:
            pickle.dump({"data": flat, "labels": labels.tolist(), "mean": flat.mean(0)}, buffer, 2)
        else:
            np.savez(buffer, data=flat, labels=labels, mean=flat.mean(0))
        files[name if pickled else f"{name}.npz"] = buffer.getvalue()
    return files


@pytest.fixture
def resized(monkeypatch):
    builder = BUILDERS["imagenet_resized_32"]
    monkeypatch.setattr(builder, "SIDE", 8)
    monkeypatch.setattr(builder, "FILES", ("Imagenet8_train_npz.zip", "Imagenet8_val_npz.zip"))
    monkeypatch.setattr(builder, "COUNTS", {"train": 260, "val": 5})


def resized_source(folder: Path, zipped: bool, pickled: bool, monkeypatch) -> Path:
    folder.mkdir()
    for name, content in reversed(batches_of(pickled).items()):
        if not zipped:
            (folder / name).write_bytes(content)
            continue
        ending = "" if pickled else "_npz"
        path = folder / f"Imagenet8_{name.partition('_')[0]}{ending}.zip"
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.stem}/{name}", content)
    builder = BUILDERS["imagenet_resized_32"]
    monkeypatch.setattr(builder, "url_infos", published(builder.URL, *folder.iterdir()))
    return folder


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("pickled", [True, False])
def test_imagenet_resized_goes_by_batch_number(resized, tmp_path, monkeypatch, zipped, pickled):
    source = resized_source(tmp_path / "originals", zipped, pickled, monkeypatch)
    prepare("imagenet_resized_32", tmp_path / "data", source)
    for name, key, rows in (
        ("train", "train", KEPT),
        ("validation", "train", [127, 255]),
        ("test", "valid", slice(None)),
    ):
        images, labels = SMALL[key][rows], CLASSES[key][rows] - 1
        split = assert_split("imagenet_resized_32", name, tmp_path / "data", images, labels)
    assert (split.event, split.num_classes) == (image(8, 8, 3), 1000)


def test_damaged_imagenet_resized_is_refused(resized, tmp_path, monkeypatch):
    name, data = "imagenet_resized_32", tmp_path / "data"
    source = resized_source(tmp_path / "zips", True, False, monkeypatch)
    path = source / "Imagenet8_val_npz.zip"
    path.write_bytes(path.read_bytes() + b"?")
    assert f"{path} has" in refusal_of(name, data, source)
    path.unlink()
    assert "has neither Imagenet8_val_npz.zip nor" in refusal_of(name, data, source)
    source = resized_source(tmp_path / "npz", False, False, monkeypatch)
    batch = source / "train_data_batch_2.npz"
    content = batch.read_bytes()
    batch.write_bytes(content[:-300])
    assert f"{batch} cannot be read" in refusal_of(name, data, source)
    batch.unlink()
    message = refusal_of(name, data, source)
    assert f"{source / 'train_data_batch_10.npz'}: 230 images, not 260" in message
    npz(batch, data=np.zeros((30, 192), np.uint8), labels=np.zeros(30, int))
    assert f"{batch}: image 100 has 192 values and label 0" in refusal_of(name, data, source)


def test_a_pickle_that_would_run_something_is_refused(resized, tmp_path, monkeypatch):
    source = resized_source(tmp_path / "originals", False, True, monkeypatch)
    mark = tmp_path / "ran"
    attack = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
    (source / "val_data").write_bytes(attack)
    message = refusal_of("imagenet_resized_32", tmp_path / "data", source)
    assert f"{source / 'val_data'} cannot be read: it refers to os.system" in message
    assert not mark.exists()
