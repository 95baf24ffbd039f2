"""Folders of files with one example each: splits and classes by sub-folder; PNG files."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from gen_jax.data.importing.content import Found, Part
from gen_jax.data.importing.kinds import inside
from gen_jax.data.importing.rules import listed
from gen_jax.data.importing.splits import nearly, split_of
from gen_jax.data.png import Png, read_png
from gen_jax.errors import InputError

LOG = logging.getLogger(__name__)
TELL_EVERY = 10_000  # files
Files = list[tuple[Path, str | None]]  # each with the name of its class


@dataclass(frozen=True)
class Listing:
    """Files by split, the names of the classes, and a sentence on what was passed over."""

    splits: dict[str, Files]
    names: list[str]
    notes: list[str]

    def labels(self, files: Files) -> Int32[np.ndarray, " N"] | None:
        """The classes of the files, None where there are none."""
        number = {name: k for k, name in enumerate(self.names)}
        labels = np.array([number[name] for _, name in files if name is not None], np.int32)
        return labels if self.names else None


def labelled_files(paths: list[Path], what: str, classes: bool = False) -> Listing:
    """Files by split and class; InputError where only some are in class folders. `classes`: no folder is a split."""
    splits: dict[str, Files] = {"train": [(path, None) for path in paths]}
    passed: list[Path] = []
    if any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise InputError(f"one folder of {what} files makes a data set, not {len(paths)} paths")
        splits = _splits(paths[0], classes, passed)
    everything = [item for files in splits.values() for item in files]
    names = sorted({name for _, name in everything if name is not None})
    for path, name in everything:
        if names and name is None:
            raise InputError(f"{path} is in no class folder, others are; use classes in all splits")
    return Listing(splits, names, passed_over(passed))


def passed_over(passed: list[Path]) -> list[str]:
    """One sentence on what is no data; nothing where there is none."""

    def told(path: Path) -> str:
        if not path.is_dir():
            return path.name
        return f"{path.name} ({'a folder' if any(path.iterdir()) else 'empty'})"

    names = [*dict.fromkeys(map(told, passed))]
    return [f"passed over: {listed(names)}"] * bool(names)


def from_png(
    paths: list[Path], any_size: bool, max_bytes: int | None = None, classes: bool = False
) -> Found:
    """Images by split, of one size unless `any_size`; InputError that names the file where one does not fit."""
    listing = labelled_files(paths, "PNG", classes)
    first: tuple[Path, Png] | None = None
    parts = {}
    for split, files in listing.splits.items():
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
        x = images if any_size else np.stack(images)
        parts[split] = Part(x, [str(path) for path, _ in files], listing.labels(files))
    assert first is not None  # no split is empty
    depth, kind = first[1].depth, first[1].kind
    levels = (2**depth, f"the files are {kind}") if 1 < depth < 8 else None
    names = listing.names
    return Found(parts, levels, len(names), names, notes=listing.notes)


def _size(picture: Png) -> str:
    height, width, _ = picture.samples.shape
    return f"{height}x{width}"


def _splits(folder: Path, classes: bool, passed: list[Path]) -> dict[str, Files]:
    """Files by split: sub-folders named as splits, else everything is train, to be split later."""
    folders, files = _listing(folder, passed)
    named = {sub: split for sub in folders if (split := split_of(sub.name)) and not classes}
    if not named:
        for sub in folders:
            if not classes and (near := nearly(sub.name)):
                raise InputError(
                    f"{sub} nearly says the split {near}; name it {near} if it is one,"
                    " or say --classes if all folders here are classes"
                )
        return {"train": _classes(folder, passed)}
    if len(named) < len(folders) or files:
        other = next(path for path in [*files, *folders] if path not in named)
        raise InputError(
            f"{other} lies beside split folder {next(iter(named))}; use only split folders"
        )
    for split in named.values():
        twice = [sub.name for sub in named if named[sub] == split]
        if len(twice) > 1:
            raise InputError(f"{folder} holds a split twice: {', '.join(twice)}")
    return {split: _classes(sub, passed) for sub, split in named.items()}


def _classes(folder: Path, passed: list[Path]) -> Files:
    """The files of one split in order of name, each with its class where there are class folders."""
    folders, files = _listing(folder, passed)
    if folders and files:
        raise InputError(f"{folder} holds files beside folders: {files[0].name}, {folders[0].name}")
    found: Files = [(path, None) for path in files]
    for sub in folders:
        if sub.suffix.lower() in (".png", ".wav"):
            raise InputError(f"{sub} is a folder, no file")
        deeper, members = _listing(sub, passed)
        if deeper:
            raise InputError(f"{deeper[0]} is a folder inside a class folder")
        if not members:
            passed.append(sub)
        found += [(path, sub.name) for path in members]
    if not found:
        raise InputError(f"{folder} is empty")
    return found


def _listing(folder: Path, passed: list[Path]) -> tuple[list[Path], list[Path]]:
    """Folders and files, by name."""
    held = inside(folder, passed)
    return [p for p in held if p.is_dir()], [p for p in held if not p.is_dir()]
