"""Omniglot at its original size, from the two zip files, their folders, or one .npz."""

import zipfile
from collections.abc import Iterator
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
from gen_jax.data.png import decoded
from gen_jax.errors import InputError

DRAWERS, HELD_OUT_DRAWERS = 20, 2


class Omniglot(Builder, skip_registration=True):
    """Omniglot: 105x105, binary (1 is ink), no labels; 17,352 / 1,928 / 13,180 images.

    Train and validation are `images_background`, test is `images_evaluation`, which has other alphabets. Validation has
    the drawings of each character by drawers 19 and 20. The order is alphabet, character, drawer.
    """

    name = "omniglot"
    URL = "https://github.com/brendenlake/omniglot/raw/master/python/"
    ORIGINALS: ClassVar = {
        "background": Original(
            (19_280, 105, 105), "dd58c588f6e2a235ab066d820e54815196df02fcb5ee660aa01b1bfd6c84ed3f"
        ),
        "evaluation": Original(
            (13_180, 105, 105), "c3cd7004d5b5d81203d43f5fcdcc7ff34e9923b8059c9e04999b0b98a1b652a8"
        ),
    }

    def _info(self):
        says = (self.__doc__ or "").splitlines()[0]
        citation = "Lake, Salakhutdinov and Tenenbaum 2015, doi:10.1126/science.aab3050"
        return info(self, says, (105, 105, 1), levels=2, citation=citation)

    def _split_generators(self, dl_manager):
        images = {key: self._images(key, dl_manager)[..., None] for key in self.ORIGINALS}
        background = list(numbered(images["background"]))
        cut = DRAWERS - HELD_OUT_DRAWERS
        return {
            "train": self._generate_examples([e for e in background if e[0] % DRAWERS < cut]),
            "validation": self._generate_examples([e for e in background if e[0] % DRAWERS >= cut]),
            "test": self._generate_examples(numbered(images["evaluation"])),
        }

    def _images(self, key: str, dl_manager) -> np.ndarray:
        """One of the two original arrays, after a check."""
        original, file = self.ORIGINALS[key], f"images_{key}"
        npz = npz_of(self.source, self.name)
        if npz:
            return original.check(
                _unpacked(read_original_npz(npz), key, npz), f"{npz}: array {key!r}"
            )
        if not self.source:
            path = download(dl_manager, f"{self.URL}{file}.zip")
        elif Path(self.source).is_dir():
            path = find(Path(self.source), f"{file}.zip", file, f"{self.name}.npz")
        else:
            raise InputError(f"{self.source} is not an .npz file; name the folder of {file}.zip")
        with reading(path):
            drawn = sorted(_drawings(path), key=lambda named: named[0])
        if len(drawn) != original.shape[0]:
            raise InputError(f"{path} has {len(drawn)} drawings, not {original.shape[0]}")
        return original.check(np.stack([image for _, image in drawn]), str(path))


def _unpacked(arrays: dict[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    """The array `KEY`, or that of `KEY_packed`, whose rows are np.packbits of the flattened drawings."""
    if f"{key}_packed" in arrays and key not in arrays:
        packed = arrays[f"{key}_packed"]
        if packed.dtype == np.uint8 and packed.ndim == 2:
            return np.unpackbits(packed, axis=1, count=105 * 105)
    return array_of(arrays, key, path)


def _drawings(path: Path) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """((alphabet, character, drawer), drawing) for every ALPHABET/CHARACTER/IMAGE_DRAWER.png in a folder or zip."""

    def drawing(name: Path, content: bytes):
        key = (name.parts[-3], name.parts[-2], name.stem.partition("_")[2])
        return key, (decoded(content, "L") < 128).astype(np.uint8)

    if path.is_dir():
        for file in path.rglob("[!.]*.png"):
            yield drawing(file, file.read_bytes())
        return
    with zipfile.ZipFile(path) as archive:
        for member in map(Path, archive.namelist()):
            if member.suffix == ".png" and "__MACOSX" not in member.parts:
                yield drawing(member, archive.read(member.as_posix()))
