"""Folders of files with one example each: splits and classes by sub-folder; PNG files."""

import logging
from pathlib import Path

import numpy as np

from gen_jax.data.importing.content import SPLIT_NAMES, Found, Part
from gen_jax.data.importing.kinds import inside
from gen_jax.data.png import Png, read_png
from gen_jax.errors import InputError

LOG = logging.getLogger(__name__)
TELL_EVERY = 10_000  # files
Files = list[tuple[Path, str | None]]  # each with the name of its class


def labelled_files(paths: list[Path], what: str) -> tuple[dict[str, Files], list[str]]:
    """Files by split, and the names of the classes; InputError where only some are in class folders."""
    splits: dict[str, Files] = {"train": [(path, None) for path in paths]}
    if any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise InputError(f"one folder of {what} files makes a data set, not {len(paths)} paths")
        splits = _splits(paths[0])
    everything = [item for files in splits.values() for item in files]
    names = sorted({name for _, name in everything if name is not None})
    for path, name in everything:
        if names and name is None:
            raise InputError(f"{path} is in no class folder, others are; use classes in all splits")
    return splits, names


def from_png(paths: list[Path], any_size: bool, max_bytes: int | None = None) -> Found:
    """Images by split, of one size unless `any_size`; InputError that names the file where one does not fit."""
    splits, names = labelled_files(paths, "PNG")
    first: tuple[Path, Png] | None = None
    parts = {}
    for split, files in splits.items():
        images = []
        for path, _ in files:
            picture = read_png(path, max_bytes)
            first = first or (path, picture)
            if picture.kind != first[1].kind:
                raise InputError(
                    f"{path} is {picture.kind}, {first[0]} is {first[1].kind}; a data set is of one kind"
                )
            if picture.samples.shape != first[1].samples.shape and not any_size:
                raise InputError(
                    f"{path} is {_size(picture)}, {first[0]} is {_size(first[1])};"
                    " images of several sizes need --tiles SIDE"
                )
            images.append(picture.samples)
            if len(images) % TELL_EVERY == 0:
                LOG.info("%s: %s of %s images read", split, f"{len(images):,}", f"{len(files):,}")
        labels = np.array([names.index(name) for _, name in files if name is not None], np.int32)
        x = images if any_size else np.stack(images)
        parts[split] = Part(x, [str(path) for path, _ in files], labels if names else None)
    assert first is not None  # no split is empty
    depth, kind = first[1].depth, first[1].kind
    levels = (2**depth, f"the files are {kind}") if 1 < depth < 8 else None
    return Found(parts, levels, num_classes=len(names), class_names=names)


def _size(picture: Png) -> str:
    height, width, _ = picture.samples.shape
    return f"{height}x{width}"


def _splits(folder: Path) -> dict[str, Files]:
    """Files by split: sub-folders named as splits, else everything is train, to be split later."""
    folders, files = _listing(folder)
    named = [sub for sub in folders if sub.name in SPLIT_NAMES]
    if not named:
        return {"train": _classes(folder)}
    if len(named) < len(folders) or files:
        other = next(path for path in [*files, *folders] if path not in named)
        raise InputError(f"{other} lies beside split folder {named[0]}; use only split folders")
    if len({SPLIT_NAMES[sub.name] for sub in named}) < len(named):
        raise InputError(f"{folder} holds both valid and validation")
    return {SPLIT_NAMES[sub.name]: _classes(sub) for sub in named}


def _classes(folder: Path) -> Files:
    """The files of one split in order of name, each with its class where there are class folders."""
    folders, files = _listing(folder)
    if folders and files:
        raise InputError(f"{folder} holds files beside folders: {files[0].name}, {folders[0].name}")
    found: Files = [(path, None) for path in files]
    for sub in folders:
        deeper, members = _listing(sub)
        if deeper:
            raise InputError(f"{deeper[0]} is a folder inside a class folder")
        found += [(path, sub.name) for path in members]
    return found


def _listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files, by name."""
    held = inside(folder)
    return [p for p in held if p.is_dir()], [p for p in held if not p.is_dir()]
