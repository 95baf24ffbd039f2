"""Data sets prepared by TFDS's own builders: images and labels, without index, levels and usually validation."""

from pathlib import Path
from typing import Any

import numpy as np

from gen_jax.errors import InputError

LEVELS = {"binarized_mnist": 2}  # other images have 256


def is_ours(folder: Path) -> bool:
    """Whether one of our builders wrote the folder, even if it is damaged now."""
    marks = {"features.json": b'"index"', "metadata.json": b'"levels"'}
    return any(
        (folder / file).is_file() and mark in (folder / file).read_bytes()
        for file, mark in marks.items()
    )


def metadata(builder: Any, name: str, folder: Path) -> dict[str, int]:
    """`levels` and `num_classes` according to the features; InputError if there are no uint8 images."""
    features = dict(builder.info.features.items())
    if getattr(features.get("image"), "np_dtype", None) != np.uint8:
        raise InputError(
            f"the data set at {folder} has no feature 'image' of uint8; its features: {', '.join(sorted(features))}"
        )
    if not builder.info.available_file_formats() & _random_access():
        ours = f", or run `gen-jax data prepare {name}`" if name in _builders() else ""
        raise InputError(
            f"the data set at {folder} has {builder.info.file_format.value} files, which only TensorFlow can read;"
            f" remove the folder and prepare it with tfds.builder({name!r}, file_format='array_record')"
            f".download_and_prepare(){ours}"
        )
    return {
        "levels": LEVELS.get(name, 256),
        "num_classes": getattr(features.get("label"), "num_classes", None) or 0,
    }


def parts(sizes: dict[str, int], name: str) -> dict[str, tuple[str, range]]:
    """For each split the stored split and its rows; if validation is missing, it is the last part of train.

    It has as many examples as our builder of that name holds out, otherwise a tenth.
    """
    rows = {split: (split, range(size)) for split, size in sizes.items()}
    if "train" in sizes and "validation" not in sizes:
        total = sizes["train"]
        count = getattr(_builders().get(name), "VALIDATION", total)
        cut = total - (count if count < total else total // 10)
        rows |= {"train": ("train", range(cut)), "validation": ("train", range(cut, total))}
    return rows


def _random_access() -> set[Any]:
    from tensorflow_datasets.core.file_adapters import FileFormat

    return set(FileFormat.with_random_access())


def _builders() -> dict[str, Any]:
    from gen_jax.data.builders import BUILDERS

    return BUILDERS
