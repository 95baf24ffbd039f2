"""TFDS builders that write ArrayRecord and need no TensorFlow; integers as they are, with their number of levels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from gen_jax.errors import InputError


def _info(builder, description, shape, levels, num_classes=0, citation=""):
    features = {
        "image": tfds.features.Tensor(shape=shape, dtype=np.uint8),
        "index": tfds.features.Scalar(np.int64),
    }
    if num_classes:
        features["label"] = tfds.features.ClassLabel(num_classes=num_classes)
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(features),
        metadata=tfds.core.MetadataDict(levels=levels, num_classes=num_classes),
        citation=citation,
    )


class Digits(tfds.core.GeneratorBasedBuilder):
    """Scikit-learn's digits: 1,797 real 8x8 images of 17 grey levels, split by index i mod 5."""

    name = "digits"
    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version("1.0.0")
    NEEDS_SOURCE = False
    SPLITS = (("train", (0, 1, 2)), ("validation", (3,)), ("test", (4,)))

    def _info(self):
        return _info(
            self,
            "Optical recognition of handwritten digits (UCI), the test part as shipped with scikit-learn.",
            (8, 8, 1),
            levels=17,
            num_classes=10,
            citation="Alpaydin and Kaynak 1998, doi:10.24432/C50P49",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download: the images come with scikit-learn
        return {split: self._generate_examples(remainders) for split, remainders in self.SPLITS}

    def _generate_examples(self, remainders) -> Iterator[tuple[int, dict]]:
        from sklearn.datasets import load_digits

        flat, labels = load_digits(return_X_y=True)
        images = flat.reshape(-1, 8, 8)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            if i % 5 in remainders:
                yield (
                    i,
                    {"image": image.astype(np.uint8)[..., None], "label": int(label), "index": i},
                )


class BinarizedMnist(tfds.core.GeneratorBasedBuilder):
    """MNIST binarised once and for all (Salakhutdinov and Murray 2008; Larochelle): 50,000 / 10,000 / 10,000 images.

    `source` is a folder with the original text files `binarized_mnist_{train,valid,test}.amat`, or
    `binarized_mnist.npz` with arrays `train`, `valid`, `test` of 0 and 1, or a folder that holds it.
    """

    name = "binarized_mnist"
    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version("1.0.0")
    NEEDS_SOURCE = True
    SPLITS = (("train", "train", 50_000), ("validation", "valid", 10_000), ("test", "test", 10_000))

    def __init__(self, *, source: str | None = None, **kwargs):
        self.source = source
        super().__init__(**kwargs)

    def _info(self):
        return _info(
            self,
            "MNIST, each pixel drawn once from Bernoulli(grey / 255); dynamic or thresholded MNIST is another set.",
            (28, 28, 1),
            levels=2,
            citation="Salakhutdinov and Murray 2008; Larochelle and Murray 2011",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # the file is given
        arrays = _read_amat(self.source) or _read_npz(self.source, "binarized_mnist.npz")
        generators = {}
        for split, key, count in self.SPLITS:
            images = arrays.get(key)
            if images is None or images.size != count * 784 or not np.isin(images, (0, 1)).all():
                found = "no such array" if images is None else f"shape {images.shape}"
                raise InputError(
                    f"{self.source}: array {key!r} should be {count} binary images of 28x28, it is {found}"
                )
            generators[split] = self._generate_examples(
                images.reshape(count, 28, 28, 1).astype(np.uint8)
            )
        return generators

    def _generate_examples(self, images) -> Iterator[tuple[int, dict]]:
        for i, image in enumerate(images):
            yield i, {"image": image, "index": i}


def _read_amat(source: str | None) -> dict[str, np.ndarray]:
    """The original text files, nothing where the folder holds none; a value that is no number shows in the size."""
    folder = Path(source or "")
    paths = {key: folder / f"binarized_mnist_{key}.amat" for key in ("train", "valid", "test")}
    return {
        key: np.fromfile(path, np.uint8, sep=" ")
        for key, path in paths.items()
        if source and path.is_file()
    }


def _read_npz(source: str | None, file_name: str) -> dict[str, np.ndarray]:
    if source is None:
        raise InputError(
            f"say where {file_name} is: gen-jax data prepare {Path(file_name).stem} --source PATH"
        )
    path = Path(source)
    path = path / file_name if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:
        raise InputError(f"{path} is no readable .npz file: {error}") from error


BUILDERS = {builder.name: builder for builder in (Digits, BinarizedMnist)}
