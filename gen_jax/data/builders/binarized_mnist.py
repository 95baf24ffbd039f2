"""MNIST binarised once, with a fixed draw, from the original text files or one .npz."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from gen_jax.data.builders.common import Builder, info, numbered
from gen_jax.data.builders.originals import Original, checked_npz, download, find, npz_of, reading
from gen_jax.errors import InputError


class BinarizedMnist(Builder, skip_registration=True):
    """MNIST with a fixed binarisation (Salakhutdinov and Murray 2008; Larochelle): 50,000 / 10,000 / 10,000 images.

    `source` is a folder with the original text files `binarized_mnist_{train,valid,test}.amat`, or
    `binarized_mnist.npz` with arrays `train`, `valid`, `test` of 0 and 1, or a folder that contains it.
    """

    name = "binarized_mnist"
    URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
    SPLITS: ClassVar = {"train": "train", "validation": "valid", "test": "test"}
    ORIGINALS: ClassVar = {
        "train": Original(
            (50_000, 28, 28, 1), "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a"
        ),
        "valid": Original(
            (10_000, 28, 28, 1), "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e"
        ),
        "test": Original(
            (10_000, 28, 28, 1), "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86"
        ),
    }

    def _info(self):
        return info(
            self,
            "MNIST, each pixel drawn once from Bernoulli(grey / 255); not dynamic or thresholded MNIST.",
            (28, 28, 1),
            levels=2,
            citation="Salakhutdinov and Murray 2008; Larochelle and Murray 2011",
        )

    def _split_generators(self, dl_manager):
        arrays = self._arrays(dl_manager)
        return {
            split: self._generate_examples(numbered(arrays[key]))
            for split, key in self.SPLITS.items()
        }

    def _arrays(self, dl_manager) -> dict[str, np.ndarray]:
        """The three original arrays, after a check."""
        npz = npz_of(self.source, self.name)
        if npz:
            return checked_npz(npz, self.ORIGINALS)
        if self.source and not Path(self.source).is_dir():
            raise InputError(
                f"{self.source} is not an .npz file; name the folder of the .amat files"
            )
        checked = {}
        for key, original in self.ORIGINALS.items():
            file = f"binarized_mnist_{key}.amat"
            path = (
                find(Path(self.source), file, f"{self.name}.npz")
                if self.source
                else download(dl_manager, self.URL + file)
            )
            with reading(
                path
            ):  # np.fromfile stops at a value that is not a number: the size is wrong
                checked[key] = original.check(np.fromfile(path, np.uint8, sep=" "), str(path))
        return checked
