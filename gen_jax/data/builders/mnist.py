"""MNIST and Fashion-MNIST from the four idx files or one .npz; thresholded and dynamically binarised MNIST."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from gen_jax.data.builders.common import Builder, info, numbered
from gen_jax.data.builders.originals import Original, checked_npz, download, find, npz_of, reading
from gen_jax.data.dynamic import binarised
from gen_jax.data.formats import read_idx
from gen_jax.errors import InputError

FILES = {
    "train": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class Mnist(Builder, skip_registration=True):
    """MNIST: 28x28, 256 levels, 10 classes; 50,000 / last 10,000 of the 60,000 / 10,000 images."""

    name = "mnist"
    NPZ = "mnist"
    URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
    CITATION = "LeCun, Cortes and Burges, the MNIST database of handwritten digits"
    LEVELS = 256
    METADATA: ClassVar = {}
    VALIDATION = 10_000
    ORIGINALS: ClassVar = {
        "train": Original(
            (60_000, 28, 28), "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"
        ),
        "train_labels": Original(
            (60_000,), "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"
        ),
        "test": Original(
            (10_000, 28, 28), "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"
        ),
        "test_labels": Original(
            (10_000,), "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"
        ),
    }

    def _info(self):
        says = (self.__doc__ or "").splitlines()[0]
        return info(self, says, (28, 28, 1), self.LEVELS, 10, self.CITATION, **self.METADATA)

    def _split_generators(self, dl_manager):
        arrays = self._arrays(dl_manager)
        images, labels = arrays["train"][..., None], arrays["train_labels"]
        generators = self._hold_out(images, labels, self.VALIDATION)
        test = numbered(arrays["test"][..., None], arrays["test_labels"])
        generators["test"] = self._generate_examples(test)
        return generators

    def _arrays(self, dl_manager) -> dict[str, np.ndarray]:
        """The four original arrays, after a check."""
        npz = npz_of(self.source, self.NPZ)
        if npz:
            return checked_npz(npz, self.ORIGINALS)
        if self.source and not Path(self.source).is_dir():
            raise InputError(
                f"{self.source} is not an .npz file; name the folder of {FILES['train']} and the three other files"
            )
        checked = {}
        for name, original in self.ORIGINALS.items():
            if self.source:
                path = find(Path(self.source), FILES[name], f"{FILES[name]}.gz", f"{self.NPZ}.npz")
            else:
                path = download(dl_manager, f"{self.URL}{FILES[name]}.gz")
            with reading(path):
                checked[name] = original.check(read_idx(path), str(path))
        return checked


class FashionMnist(Mnist, skip_registration=True):
    """Fashion-MNIST: 28x28, 256 levels, 10 classes; 50,000 / last 10,000 of the 60,000 / 10,000 images."""

    name = "fashion_mnist"
    NPZ = "fashion_mnist"
    URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    CITATION = "Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747"
    ORIGINALS: ClassVar = {
        "train": Original(
            (60_000, 28, 28), "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012"
        ),
        "train_labels": Original(
            (60_000,), "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7"
        ),
        "test": Original(
            (10_000, 28, 28), "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a"
        ),
        "test_labels": Original(
            (10_000,), "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9"
        ),
    }


class ThresholdedMnist(Mnist, skip_registration=True):
    """MNIST thresholded at one half: 1 if grey > 127; 10 classes, splits of `mnist`."""

    name = "thresholded_mnist"
    LEVELS = 2

    def _arrays(self, dl_manager):
        arrays = super()._arrays(dl_manager)
        return {
            name: array if name.endswith("labels") else (array > 127).astype(np.uint8)
            for name, array in arrays.items()
        }


class DynamicMnist(Mnist, skip_registration=True):
    """MNIST drawn from Bernoulli(grey / 255), train again in every batch, validation and test once; splits of `mnist`.

    `train` stores the greys (metadata `greys`). The stored draw of validation has seed (0, 1), that of test (0, 2).
    """

    name = "dynamic_mnist"
    LEVELS = 2
    METADATA: ClassVar = {"greys": ["train"]}

    def _arrays(self, dl_manager):
        arrays = super()._arrays(dl_manager)
        cut = len(arrays["train"]) - self.VALIDATION
        held_out, test = binarised(arrays["train"][cut:], (0, 1)), binarised(arrays["test"], (0, 2))
        train = np.concatenate([arrays["train"][:cut], held_out])
        return {**arrays, "train": train, "test": test}
