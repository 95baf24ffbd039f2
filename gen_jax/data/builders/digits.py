"""Scikit-learn's digits, which come with a dependency and need no download."""

import numpy as np

from gen_jax.data.builders.common import Builder, info, numbered


class Digits(Builder, skip_registration=True):
    """Scikit-learn's digits: 1,797 real 8x8 images with 17 grey levels, split by index mod 5."""

    name = "digits"
    TAKES_SOURCE = False
    SPLITS = (("train", (0, 1, 2)), ("validation", (3,)), ("test", (4,)))

    def _info(self):
        return info(
            self,
            "Optical recognition of handwritten digits (UCI), the test part as shipped with scikit-learn.",
            (8, 8, 1),
            levels=17,
            num_classes=10,
            citation="Alpaydin and Kaynak 1998, doi:10.24432/C50P49",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download: the images come with scikit-learn
        from sklearn.datasets import load_digits

        flat, labels = load_digits(return_X_y=True)
        examples = list(numbered(flat.reshape(-1, 8, 8, 1).astype(np.uint8), labels))
        return {
            split: self._generate_examples([e for e in examples if e[0] % 5 in remainders])
            for split, remainders in self.SPLITS
        }
