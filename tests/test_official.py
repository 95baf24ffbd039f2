"""Sets as TFDS's own builders lay them out: encoded images and labels, no index, no metadata of ours."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from originals import MNIST, npz, png, small_mnist

from gen_jax import InputError, image
from gen_jax.data import official, prepared
from gen_jax.data.batches import Batches


@pytest.fixture(autouse=True)
def small(monkeypatch):
    small_mnist(monkeypatch)


def official_set(
    data_dir, name, splits, shape, classes=0, config=None, version="3.0.1", dtype=np.uint8
):
    """A set written by TFDS from a builder with the official features; PNG bytes are written without TensorFlow."""
    features = {"image": tfds.features.Image(shape=shape, dtype=dtype)}
    if classes:
        features["label"] = tfds.features.ClassLabel(num_classes=classes)
    of = name

    class Official(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = of
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {key: self._generate_examples(*arrays) for key, arrays in splits.items()}

        def _generate_examples(self, images, labels=None):
            for i, pixels in enumerate(images):
                yield (
                    i,
                    {"image": png(pixels.squeeze())}
                    | ({"label": int(labels[i])} if classes else {}),
                )

    builder = Official(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare()
    return builder.data_path


def stored_order(data_dir, name) -> np.ndarray:
    builder = tfds.builder_from_directory(prepared.prepared_folder(name, data_dir))
    source = builder.as_data_source(split="train")
    return np.stack([source[i]["image"] for i in range(len(source))])


@pytest.fixture
def official_mnist(tmp_path):
    train = (MNIST["train"], MNIST["train_labels"])
    splits = {"train": train, "test": (MNIST["test"], MNIST["test_labels"])}
    official_set(tmp_path, "mnist", splits, (28, 28, 1), classes=10)
    return tmp_path


def test_official_mnist_holds_out_the_end_of_its_stored_order(official_mnist):
    stored = stored_order(official_mnist, "mnist")
    assert np.any(stored[..., 0] != MNIST["train"])  # TFDS shuffles by a hash of the key
    label_of = {
        pixels.tobytes(): label
        for key in ("train", "test")
        for pixels, label in zip(MNIST[key], MNIST[f"{key}_labels"], strict=True)
    }
    for name, expected in (("train", stored[:50]), ("validation", stored[50:])):
        split = prepared.load("mnist", name, official_mnist)
        np.testing.assert_array_equal(split.x, expected)
        np.testing.assert_array_equal(split.labels, [label_of[x.tobytes()] for x in split.x])
        assert (split.event, split.num_classes, split.version) == (image(28, 28), 10, "3.0.1")
        assert (split.x.dtype, split.labels.dtype) == (np.uint8, np.int32)
    test = prepared.load("mnist", "test", official_mnist)
    assert {x.tobytes() for x in test.x} == {x.tobytes() for x in MNIST["test"]}
    assert Batches(test, 4, seed=0, conditional=True).batch(0)["cond"].shape == (4,)
    with pytest.raises(InputError, match="unknown split 'tset'"):
        prepared.load("mnist", "tset", official_mnist)


def test_ours_goes_before_the_official_one(official_mnist):
    assert not official.is_ours(official_mnist / "mnist" / "3.0.1")
    prepared.prepare("mnist", official_mnist, str(npz(official_mnist / "x.npz", **MNIST)))
    split = prepared.load("mnist", "train", official_mnist)
    assert split.version == "1.0.0"
    np.testing.assert_array_equal(split.x[..., 0], MNIST["train"][:50])
    (official_mnist / "mnist" / "1.0.0" / "metadata.json").unlink()
    with pytest.raises(InputError, match=r"1\.0\.0 is damaged"):
        prepared.load("mnist", "train", official_mnist)


def test_a_set_with_validation_and_a_config_is_taken_as_it_is(tmp_path):
    rng, name = np.random.default_rng(0), "downsampled_imagenet/32x32"
    splits = {
        key: (rng.integers(0, 256, (count, 32, 32, 3), np.uint8),)
        for key, count in (("train", 20), ("validation", 5))
    }
    official_set(tmp_path, "downsampled_imagenet", splits, (None, None, 3), config="32x32")
    # The official features leave the sides open; every image here is 32x32.
    for key, (images,) in splits.items():
        split = prepared.load(name, key, tmp_path)
        assert {x.tobytes() for x in split.x} == {x.tobytes() for x in images}
        assert (split.event, split.labels) == (image(32, 32, 3), None)
    with pytest.raises(InputError, match=r"unknown split 'test'.*has train, validation"):
        prepared.load(name, "test", tmp_path)


def test_a_set_of_no_name_of_ours_holds_out_a_tenth(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (37, 5, 4, 3), np.uint8)
    official_set(tmp_path, "others", {"train": (images,)}, (5, 4, 3))
    stored = stored_order(tmp_path, "others")
    np.testing.assert_array_equal(prepared.load("others", "train", tmp_path).x, stored[:34])
    np.testing.assert_array_equal(prepared.load("others", "validation", tmp_path).x, stored[34:])


def test_the_official_fixed_binarisation_has_two_levels(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (9, 28, 28, 1), np.uint8)
    splits = dict.fromkeys(("train", "validation", "test"), (images,))
    official_set(tmp_path, "binarized_mnist", splits, (28, 28, 1))
    assert prepared.load("binarized_mnist", "test", tmp_path).event == image(28, 28, levels=2)


def test_tfrecord_is_refused_with_the_way_out(official_mnist):
    folder = official_mnist / "mnist" / "3.0.1"
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(InputError) as refusal:
        prepared.load("mnist", "train", official_mnist)
    assert f"the data set at {folder} has tfrecord files" in str(refusal.value)
    assert "tfds.builder('mnist', file_format='array_record')" in str(refusal.value)
    assert "or run `gen-jax data prepare mnist`" in str(refusal.value)


def test_sets_that_are_no_integer_images_of_one_shape_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (4, 3, 3), np.uint16)
    official_set(tmp_path, "deep", {"train": (deep,)}, (3, 3, 1), dtype=np.uint16)
    with pytest.raises(InputError, match="no feature 'image' of uint8"):
        prepared.load("deep", "train", tmp_path)
    sides = [rng.integers(0, 256, (3 + i % 2, 3, 3), np.uint8) for i in range(4)]
    official_set(tmp_path, "sides", {"train": (sides,)}, (None, None, 3))
    with pytest.raises(InputError, match="images of different shapes"):
        prepared.load("sides", "train", tmp_path)
