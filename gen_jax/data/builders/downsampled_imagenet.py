"""ImageNet at 32x32 and 64x64 as released with PixelRNN: archives of PNG files, no labels."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from gen_jax.data.builders.common import Builder, Example, held_out, info
from gen_jax.data.builders.originals import checked_archive, download, find, reading
from gen_jax.data.png import decoded
from gen_jax.errors import InputError


class DownsampledImagenet32(Builder, skip_registration=True):
    """ImageNet 32x32 as released with PixelRNN: 256 levels, no labels; 1,271,141 / 10,008 / 49,999 images.

    Test is the released validation set, on which the literature reports; no other test set was released. Validation is
    every 128th released training image in order of file names. Different from `imagenet_resized_32`.
    """

    name = "downsampled_imagenet_32"
    SIDE = 32
    URL = "http://image-net.org/small/"
    COUNTS: ClassVar = {"train": 1_281_149, "valid": 49_999}

    def _info(self):
        says = (self.__doc__ or "").splitlines()[0]
        citation = "van den Oord, Kalchbrenner and Kavukcuoglu 2016, arXiv:1601.06759"
        return info(self, says, (self.SIDE, self.SIDE, 3), 256, citation=citation)

    def _split_generators(self, dl_manager):
        paths = {key: self._path(key, dl_manager) for key in self.COUNTS}
        return {
            "train": self._generate_examples(self._examples(paths, "train", False)),
            "validation": self._generate_examples(self._examples(paths, "train", True)),
            "test": self._generate_examples(self._examples(paths, "valid", None)),
        }

    def _path(self, key: str, dl_manager) -> Path:
        """The archive, after a check, or the folder of its files."""
        file = f"{key}_{self.SIDE}x{self.SIDE}"
        url = f"{self.URL}{file}.tar"
        if not self.source:
            return download(dl_manager, url)
        if not Path(self.source).is_dir():
            raise InputError(f"{self.source} is not a folder; name the folder of {file}.tar")
        path = find(Path(self.source), f"{file}.tar", file)
        return path if path.is_dir() else checked_archive(path, self._published(url))

    def _examples(self, paths: dict[str, Path], key: str, part: bool | None) -> Iterator[Example]:
        """(position by file name, image, None), one at a time: held-out images if `part`, others if not, None: all."""
        with reading(paths[key]):
            files = _folder(paths[key]) if paths[key].is_dir() else _members(paths[key])
        if len(files) != self.COUNTS[key]:
            raise InputError(f"{paths[key]} has {len(files)} images, not {self.COUNTS[key]}")
        order = np.argsort(np.array([name for name, *_ in files]))
        position = np.empty(len(files), np.int64)
        position[order] = np.arange(len(files))
        for index, (name, path, offset, size) in zip(position.tolist(), files, strict=True):
            if part is None or held_out(index) == part:
                yield index, self._pixels(path, offset, size, f"{paths[key]}: {name}"), None

    def _pixels(self, path: Path, offset: int, size: int, where: str) -> np.ndarray:
        with reading(Path(where)), path.open("rb") as file:
            file.seek(offset)
            pixels = decoded(file.read(size), "RGB")
        if pixels.shape != (self.SIDE, self.SIDE, 3):
            raise InputError(f"{where} has shape {pixels.shape}, not {self.SIDE}x{self.SIDE}")
        return pixels


class DownsampledImagenet64(DownsampledImagenet32, skip_registration=True):
    """ImageNet 64x64 as released with PixelRNN: 256 levels, no labels; 1,271,141 / 10,008 / 49,999 images.

    The splits are those of `downsampled_imagenet_32`. Different from `imagenet_resized_64`.
    """

    name = "downsampled_imagenet_64"
    SIDE = 64


File = tuple[str, Path, int, int]


def _folder(path: Path) -> list[File]:
    """(name, path, 0, -1 for all bytes) of the PNG files in a folder."""
    return [(file.name, file, 0, -1) for file in path.rglob("[!.]*.png")]


def _members(path: Path) -> list[File]:
    """(name, archive, offset, size) of the PNG files in an uncompressed tar, in its order."""
    files = []
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            name = Path(member.name).name
            if member.isfile() and name.endswith(".png") and not name.startswith("."):
                files.append((name, path, member.offset_data, member.size))
            archive.members = []  # pyright: ignore[reportAttributeAccessIssue]  a million would fill the memory
    return files
