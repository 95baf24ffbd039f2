"""`.npz` files: arrays train, valid or validation, test, each with optional `*_labels`. Nothing is ever unpickled."""

import zipfile
from pathlib import Path

import numpy as np

from gen_jax.data.importing.arrays import class_labels, examples
from gen_jax.data.importing.found import SPLIT_NAMES, Found, Part, one_file
from gen_jax.errors import InputError, near

LABELS = "_labels"


def read(paths: list[Path]) -> Found:
    """The splits of one file; InputError that names the array where one does not fit."""
    one_file(paths, ".npz file")
    path = paths[0]
    arrays = _arrays(path)
    parts = {}
    for name in (name for name in arrays if name in SPLIT_NAMES):
        origin = f"{path}: array {name!r}"
        x = examples(arrays[name], origin)
        labels = [key for key in arrays if _split(key) == SPLIT_NAMES[name] and key != name]
        label = (
            class_labels(arrays[labels[0]], f"{path}: array {labels[0]!r}", len(x))
            if labels
            else None
        )
        parts[SPLIT_NAMES[name]] = Part(x, [origin] * len(x), label)
    return Found(parts)


def _split(key: str) -> str | None:
    """The split that an array of images or of labels belongs to."""
    return SPLIT_NAMES.get(key.removesuffix(LABELS))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no readable .npz file: it is no zip archive or is cut short")
    try:
        with np.load(path, allow_pickle=False) as archive:
            _check_names(path, archive.files)
            return {name: _array(path, archive, name) for name in archive.files}
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is no readable .npz file: {error}") from error


def _array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        array = archive[name]
    except Exception as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path}: array {name!r} holds Python objects, which are never unpickled; store integers"
            ) from error
        raise InputError(f"{path}: array {name!r} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {name!r} is no array")
    return array


def _check_names(path: Path, names: list[str]) -> None:
    images = [name for name in names if name in SPLIT_NAMES]
    if not images:
        raise InputError(
            f"{path} should hold arrays train, valid (or validation), test, at least one of them;"
            f" it holds {', '.join(names) or 'none'}"
        )
    known = [*SPLIT_NAMES, *(name + LABELS for name in SPLIT_NAMES)]
    for name in names:
        if name not in known:
            raise InputError(
                f"{path}: array {name!r} is no split and no labels of one{near(name, known)}"
            )
        if name not in images and not any(SPLIT_NAMES[image] == _split(name) for image in images):
            raise InputError(f"{path}: array {name!r} labels a split that is not there")
    for kind in (images, [name for name in names if name not in images]):
        if len({_split(name) for name in kind}) < len(kind):
            raise InputError(f"{path} holds a split twice: {', '.join(sorted(kind))}")
