"""Folders of files with one example each: sub-folders are splits and classes; PNG files."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from gen_jax import progress
from gen_jax.data.conversion import FORMATS, HINT, UNCHANGED, Conversion, Done
from gen_jax.data.importing.content import Part, Reading
from gen_jax.data.importing.kinds import inside
from gen_jax.data.importing.names import Names
from gen_jax.data.importing.rules import listed
from gen_jax.data.importing.splits import nearly, split_of
from gen_jax.data.png import KindError, Png, read_png
from gen_jax.errors import InputError

LOG = logging.getLogger(__name__)
TELL_EVERY = 10_000  # files
Files = list[tuple[Path, str | None]]  # each with the name of its class


@dataclass(frozen=True)
class Listing:
    """Files by split, class names, and a sentence about ignored files."""

    splits: dict[str, Files]
    names: list[str]
    notes: list[str]

    def labels(self, files: Files) -> Int32[np.ndarray, " N"] | None:
        """The classes of the files, or None if there are no classes."""
        number = {name: k for k, name in enumerate(self.names)}
        labels = np.array([number[name] for _, name in files if name is not None], np.int32)
        return labels if self.names else None


def labelled_files(
    paths: list[Path], kind: str, classes: bool = False, names: Names | None = None
) -> Listing:
    """Files by split and class; InputError if only some have a class.

    Folders tell split and class or, with `names`, the names of the files. `classes`: no folder is a split.
    """
    splits: dict[str, Files] = {"train": [(path, None) for path in paths]}
    passed: list[Path] = []
    if names is not None:
        splits = _named(paths, names, passed)
    elif any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise InputError(f"a data set is one folder of {kind} files, not {len(paths)} paths")
        splits = _splits(paths[0], classes, passed)
    everything = [item for files in splits.values() for item in files]
    labels = sorted({label for _, label in everything if label is not None})
    for path, label in everything:
        if labels and label is None:
            raise InputError(
                f"{path} is not in a class folder, but others are; use classes in all splits"
                if names is None
                else f"{path} has no label by --names, but others have"
            )
    return Listing(splits, labels, passed_over(passed))


def passed_over(passed: list[Path]) -> list[str]:
    """A sentence about ignored files, or nothing if there are none."""

    def described(path: Path) -> str:
        if not path.is_dir():
            return path.name
        return f"{path.name} ({'a folder' if any(path.iterdir()) else 'empty'})"

    names = [*dict.fromkeys(map(described, passed))]
    return [f"ignored: {listed(names)}"] * bool(names)


def from_png(
    paths: list[Path],
    any_size: bool,
    max_bytes: int | None = None,
    classes: bool = False,
    names: Names | None = None,
    conversion: Conversion = UNCHANGED,
) -> Reading:
    """Images by split, converted, of one size unless `any_size`; InputError naming a file that does not fit."""
    listing = labelled_files(paths, "PNG", classes, names)
    first: tuple[Path, Png] | None = None
    parts, done = {}, Done()
    for split, files in listing.splits.items():
        images = []
        for path, _ in progress.counted(files, f"read {split}"):
            picture = (
                conversion.read(path, done, max_bytes) if conversion else _read(path, max_bytes)
            )
            first = first or (path, picture)
            if picture.kind != first[1].kind:
                raise InputError(
                    f"{path} is {picture.kind}, {first[0]} is {first[1].kind}; a data set has one kind"
                )
            if picture.samples.shape != first[1].samples.shape and not any_size:
                raise InputError(
                    f"{path} is {_size(picture)}, {first[0]} is {_size(first[1])};"
                    " images of different sizes need --tiles SIDE or --crop and --resize"
                )
            images.append(picture.samples)
            if len(images) % TELL_EVERY == 0:
                LOG.info("%s: %s of %s images read", split, f"{len(images):,}", f"{len(files):,}")
        x = images if any_size else np.stack(images)
        parts[split] = Part(x, [str(path) for path, _ in files], listing.labels(files))
    assert first is not None  # no split is empty
    depth, kind = first[1].depth, first[1].kind
    levels = (2**depth, f"the files are {kind}") if 1 < depth < 8 else None
    if conversion.mode:
        levels = (256, "the pictures are converted to 8 bits")
    labels, sentences = listing.names, conversion.sentences(done)
    notes = [*listing.notes, *sentences]
    return Reading(parts, levels, len(labels), labels, notes=notes, conversion=sentences)


def _read(path: Path, max_bytes: int | None) -> Png:
    """The samples as they are; InputError with a hint if the picture has to be converted."""
    if path.suffix.lower() in FORMATS:
        raise InputError(f"{path} is a {FORMATS[path.suffix.lower()]} file; {HINT}")
    try:
        return read_png(path, max_bytes)
    except KindError as error:
        raise InputError(f"{error}; {HINT}") from error


def _size(picture: Png) -> str:
    height, width, _ = picture.samples.shape
    return f"{height}x{width}"


def _named(paths: list[Path], names: Names, passed: list[Path]) -> dict[str, Files]:
    """Files by split in order of name, each with its class, as `names` tells them; no folders inside a folder."""
    files = []
    for path in paths:
        files += inside(path, passed) if path.is_dir() else [path]
    splits: dict[str, Files] = {split: [] for split in names.ranges or ("train",)}
    for path in sorted(files, key=lambda path: path.name):
        if path.is_dir():
            raise InputError(f"{path} is a folder; with --names all files are in one folder")
        split, label = names.read(path)
        splits[split].append((path, label))
    for split, members in splits.items():
        if not members:
            raise InputError(f"no file has an index in the range of {split} (--split)")
    return splits


def _splits(folder: Path, classes: bool, passed: list[Path]) -> dict[str, Files]:
    """Files by split: sub-folders named like splits, otherwise everything is train, to be split later."""
    folders, files = _listing(folder, passed)
    named = {sub: split for sub in folders if (split := split_of(sub.name)) and not classes}
    if not named:
        for sub in folders:
            if not classes and (near := nearly(sub.name)):
                raise InputError(
                    f"{sub} looks like the split {near}; rename it to {near} if it is one,"
                    " or give --classes if all folders here are classes"
                )
        return {"train": _classes(folder, passed)}
    if len(named) < len(folders) or files:
        other = next(path for path in [*files, *folders] if path not in named)
        raise InputError(
            f"{other} is next to the split folder {next(iter(named))}; use only split folders"
        )
    for split in named.values():
        twice = [sub.name for sub in named if named[sub] == split]
        if len(twice) > 1:
            raise InputError(f"{folder} has a split twice: {', '.join(twice)}")
    return {split: _classes(sub, passed) for sub, split in named.items()}


def _classes(folder: Path, passed: list[Path]) -> Files:
    """The files of one split in order of name, each with its class if there are class folders."""
    folders, files = _listing(folder, passed)
    if folders and files:
        raise InputError(
            f"{folder} contains both files and folders: {files[0].name}, {folders[0].name}"
        )
    labelled: Files = [(path, None) for path in files]
    for sub in folders:
        if sub.suffix.lower() in (".png", ".wav"):
            raise InputError(f"{sub} is a folder, not a file")
        deeper, members = _listing(sub, passed)
        if deeper:
            raise InputError(f"{deeper[0]} is a folder inside a class folder")
        if not members:
            passed.append(sub)
        labelled += [(path, sub.name) for path in members]
    if not labelled:
        raise InputError(f"{folder} is empty")
    return labelled


def _listing(folder: Path, passed: list[Path]) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, by name."""
    paths = inside(folder, passed)
    return [p for p in paths if p.is_dir()], [p for p in paths if not p.is_dir()]
