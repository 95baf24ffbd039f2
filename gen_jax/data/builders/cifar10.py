"""CIFAR-10 from the binary release or from one .npz, with or without the test images."""

import hashlib
import logging
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from gen_jax.data.builders.common import Builder, info, numbered
from gen_jax.data.builders.originals import (
    Original,
    array_of,
    download,
    find,
    npz_of,
    read_original_npz,
    reading,
)
from gen_jax.data.formats import cifar_records
from gen_jax.errors import InputError

LOG = logging.getLogger(__name__)
ARCHIVE, FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
TRAIN_FILES, TEST_FILE = tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"


class Cifar10(Builder, skip_registration=True):
    """CIFAR-10: 32x32 colour, 256 levels, 10 classes; 45,000 / last 5,000 of the 50,000 / 10,000 images.

    A source without the test images gives train and validation only.
    """

    name = "cifar10"
    URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
    VALIDATION = 5_000
    ORIGINALS: ClassVar = {
        "train": Original(
            (50_000, 32, 32, 3), "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"
        ),
        "train_labels": Original(
            (50_000,), "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253"
        ),
    }
    TEST_SHAPE = (10_000, 32, 32, 3)
    TEST_BLOB = "e3f3b4653f18f27ada1558cabc3352a3ed1b25cc"  # git's name (SHA-1) of test_batch.bin

    def _info(self):
        says = (self.__doc__ or "").splitlines()[0]
        citation = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
        return info(self, says, (32, 32, 3), 256, 10, citation)

    def _split_generators(self, dl_manager):
        arrays, where = self._arrays(dl_manager)
        checked = {
            name: original.check(array_of(arrays, name, where), f"{where}: {name}")
            for name, original in self.ORIGINALS.items()
        }
        generators = self._hold_out(checked["train"], checked["train_labels"], self.VALIDATION)
        if "test" in arrays:
            labels = array_of(arrays, "test_labels", where)
            images = self._check_test(arrays["test"], labels, where)
            generators["test"] = self._generate_examples(numbered(images, labels))
        else:
            LOG.warning(
                "%s has no test images, so cifar10 has train and validation only; to add test, prepare again from a"
                " source with test images",
                where,
            )
        return generators

    def _check_test(self, images: np.ndarray, labels: np.ndarray, where: Path) -> np.ndarray:
        """The test images; InputError if they and the labels are not those of test_batch.bin."""
        count = self.TEST_SHAPE[0]
        if images.shape != self.TEST_SHAPE or images.dtype != np.uint8 or labels.shape != (count,):
            raise InputError(
                f"{where}: test should be uint8 {self.TEST_SHAPE} with {count} labels, but is {images.dtype}"
                f" {images.shape} with labels {labels.shape}"
            )
        planes = images.transpose(0, 3, 1, 2).reshape(count, -1)
        content = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1).tobytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if blob != self.TEST_BLOB:
            raise InputError(
                f"{where}: test is not the published {TEST_FILE}: its git SHA-1 is {blob}, not {self.TEST_BLOB}"
            )
        return images

    def _arrays(self, dl_manager) -> tuple[dict[str, np.ndarray], Path]:
        """The arrays of the source, in original order, and the file or folder that they came from."""
        npz = npz_of(self.source, self.name)
        if npz:
            return read_original_npz(npz), npz
        if not self.source:
            path = download(dl_manager, self.URL)
        elif Path(self.source).is_dir() and (Path(self.source) / TRAIN_FILES[0]).exists():
            path = Path(self.source)
        elif Path(self.source).is_dir():
            path = find(Path(self.source), ARCHIVE, FOLDER, f"{self.name}.npz")
        else:
            path = Path(self.source)
        files = _files(path)
        missing = [name for name in TRAIN_FILES if name not in files]
        if missing:
            raise InputError(f"{path} has no file {missing[0]}")
        read = {name: cifar_records(files[name], 10, f"{path}/{name}") for name in files}
        images, labels = zip(*(read[name] for name in TRAIN_FILES), strict=True)
        arrays = {"train": np.concatenate(images), "train_labels": np.concatenate(labels)}
        if TEST_FILE in read:
            arrays["test"], arrays["test_labels"] = read[TEST_FILE]
        return arrays, path


def _files(path: Path) -> dict[str, bytes]:
    """The content of the .bin files by name, from a folder or an archive."""
    wanted = (*TRAIN_FILES, TEST_FILE)
    with reading(path):
        if path.is_dir():
            return {name: (path / name).read_bytes() for name in wanted if (path / name).is_file()}
        with tarfile.open(path) as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile()}
            files = {name: archive.extractfile(members[name]) for name in wanted if name in members}
            return {name: file.read() for name, file in files.items() if file}
