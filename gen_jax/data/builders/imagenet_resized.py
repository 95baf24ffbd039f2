"""ImageNet at 32x32 and 64x64 by Chrabaszcz et al.: batches of arrays with labels, as .npz or as pickles."""

import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gen_jax.data.builders.common import Builder, Example, held_out, info
from gen_jax.data.builders.originals import checked_archive, download, reading
from gen_jax.errors import InputError

BATCH = re.compile(r"(?:train_data_batch_(\d+)|(val_data))(?:\.npz)?$")
HARMLESS = {"numpy": ("_reconstruct", "ndarray", "dtype"), "_codecs": ("encode",)}


class ImagenetResized32(Builder, skip_registration=True):
    """ImageNet 32x32 of Chrabaszcz et al.: 256 levels, 1,000 classes; 1,271,159 / 10,008 / 50,000 images.

    Test is the released validation set, on which the literature reports; no other test set was released. Validation is
    every 128th released training image in order of the batches. Different from `downsampled_imagenet_32`.
    """

    name = "imagenet_resized_32"
    SIDE = 32
    URL = "http://www.image-net.org/data/downsample/"
    FILES: ClassVar = ("Imagenet32_train_npz.zip", "Imagenet32_val_npz.zip")
    COUNTS: ClassVar = {"train": 1_281_167, "val": 50_000}

    def _info(self):
        says = (self.__doc__ or "").splitlines()[0]
        citation = "Chrabaszcz, Loshchilov and Hutter 2017, arXiv:1707.08819"
        return info(self, says, (self.SIDE, self.SIDE, 3), 256, 1000, citation)

    def _split_generators(self, dl_manager):
        batches = self._batches(dl_manager)
        return {
            "train": self._generate_examples(self._examples(batches["train"], "train", False)),
            "validation": self._generate_examples(self._examples(batches["train"], "train", True)),
            "test": self._generate_examples(self._examples(batches["val"], "val", None)),
        }

    def _batches(self, dl_manager) -> dict[str, list["Batch"]]:
        """The batches in order, as (path, member of the zip or None)."""
        if not self.source:
            paths = [download(dl_manager, self.URL + file) for file in self.FILES]
        elif Path(self.source).is_dir():
            folder = Path(self.source)
            zips = [*folder.glob(f"Imagenet{self.SIDE}_train*.zip")]
            zips += folder.glob(f"Imagenet{self.SIDE}_val*.zip")
            paths = zips or [path for path in folder.rglob("*") if BATCH.fullmatch(path.name)]
            for path in zips:
                if path.name in self.FILES:  # no checksum is published for the pickles
                    checked_archive(path, self._published(self.URL + path.name))
        else:
            raise InputError(f"{self.source} is not a folder; name the folder of {self.FILES[0]}")
        members = [batch for path in paths for batch in _members(path)]
        batches = {"train": [], "val": []}
        for batch in sorted(members, key=_number):
            batches["train" if _number(batch) else "val"].append(batch)
        for key, file in (("train", self.FILES[0]), ("val", self.FILES[-1])):
            if not batches[key]:
                raise InputError(f"{self.source} has neither {file} nor batches of {key}")
        return batches

    def _examples(self, batches: list["Batch"], key: str, part: bool | None) -> Iterator[Example]:
        """(position, image, label), one at a time: held-out images if `part`, others if not, None: all.

        InputError if the number of images is wrong.
        """
        index = 0
        for path, member in batches:
            with reading(path):
                for row, label in _rows(path, member):
                    if row.shape != (3 * self.SIDE**2,) or not 1 <= label <= 1000:
                        raise InputError(
                            f"{path}: image {index} has {row.size} values and label {label}"
                        )
                    if part is None or held_out(index) == part:
                        yield (
                            index,
                            row.reshape(3, self.SIDE, self.SIDE).transpose(1, 2, 0),
                            label - 1,
                        )
                    index += 1
        if index != self.COUNTS[key]:
            where = " and ".join(sorted({str(path) for path, _ in batches}))
            raise InputError(f"{where}: {index} images, not {self.COUNTS[key]}")


class ImagenetResized64(ImagenetResized32, skip_registration=True):
    """ImageNet 64x64 of Chrabaszcz et al.: 256 levels, 1,000 classes; 1,271,159 / 10,008 / 50,000 images.

    The splits are those of `imagenet_resized_32`. Different from `downsampled_imagenet_64`.
    """

    name = "imagenet_resized_64"
    SIDE = 64
    FILES: ClassVar = (
        "Imagenet64_train_part1_npz.zip",
        "Imagenet64_train_part2_npz.zip",
        "Imagenet64_val_npz.zip",
    )


Batch = tuple[Path, str | None]


def _number(batch: Batch) -> int:
    """The number of a training batch; 0 for the validation batch."""
    match = BATCH.search(batch[1] or batch[0].name)
    return int(match[1] or 0) if match else 0


def _members(path: Path) -> list[Batch]:
    """The batches in a zip; a file that is a batch is its only one."""
    if BATCH.fullmatch(path.name):
        return [(path, None)]
    with reading(path), zipfile.ZipFile(path) as archive:
        return [(path, name) for name in archive.namelist() if BATCH.search(name)]


def _rows(path: Path, member: str | None) -> Iterator[tuple[np.ndarray, int]]:
    """(values channel by channel, label from 1) of one batch; an .npz is never read as a whole."""
    if member is None:
        with path.open("rb") as file:
            yield from _npz_rows(file) if path.suffix == ".npz" else _pickled_rows(file)
        return
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        yield from _npz_rows(file) if member.endswith(".npz") else _pickled_rows(file)


def _npz_rows(file: Any) -> Iterator[tuple[np.ndarray, int]]:
    with zipfile.ZipFile(file) as npz:
        with npz.open("labels.npy") as labels_file:
            labels = np.lib.format.read_array(labels_file)
        with npz.open("data.npy") as data:
            np.lib.format.read_magic(data)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(data)
            if fortran or dtype != np.uint8 or len(shape) != 2 or len(labels) != shape[0]:
                raise InputError(f"data.npy is {dtype} of shape {shape} with {len(labels)} labels")
            for label in labels.tolist():
                yield np.frombuffer(data.read(shape[1]), np.uint8), label


def _pickled_rows(file: Any) -> Iterator[tuple[np.ndarray, int]]:
    batch = _ArraysOnly(file, encoding="latin1").load()
    yield from zip(np.asarray(batch["data"], np.uint8), list(batch["labels"]), strict=True)


class _ArraysOnly(pickle.Unpickler):
    """Reads containers and NumPy arrays, but nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in HARMLESS.get(module.partition(".")[0], ()):
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not an array")
        return super().find_class(module, name)
