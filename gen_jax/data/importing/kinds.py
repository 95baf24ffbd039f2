"""The kind of the given files, by name and, for idx, by first bytes."""

from collections.abc import Iterator
from pathlib import Path

from gen_jax.data import conversion, sound
from gen_jax.data.formats import starts_like_idx
from gen_jax.errors import InputError

PICTURES = (".png", *conversion.FORMATS)
ENDINGS = {
    ".npz": "npz",
    ".txt": "text",
    ".bin": "cifar",
    **dict.fromkeys(PICTURES, "png"),
    **dict.fromkeys(sound.ENDINGS, "wav"),
}
WORDS = {
    "npz": ".npz",
    "png": "PNG",
    "wav": "WAV",
    "text": "text",
    "cifar": "CIFAR binary",
    "idx": "idx",
}
FOLDERS = ("png", "wav")  # kinds whose folders hold splits and classes
# Files that file managers of other systems leave, in lower case.
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon", "__macosx", "$recycle.bin")


def kind_and_files(paths: list[Path]) -> tuple[str, list[Path], list[Path]]:
    """One of `WORDS`, the files to read, and ignored files; InputError if kinds differ.

    A folder of PNG or WAV files is not expanded.
    """
    for path in paths:
        check_name(path)
        if not path.exists():
            raise InputError(f"no such file or folder: {path}")
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise InputError(f"{path} is given twice")
        seen[path.resolve()] = path
    kinds = [_kind(path) for path in paths]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != kinds[0]:
            raise InputError(
                f"{paths[0]} is {WORDS[kinds[0]]}, {path} is {WORDS[kind]}; import one kind of files at a time"
            )
    passed: list[Path] = []
    files = [file for path in paths for file in _expanded(path, kinds[0], passed)]
    return kinds[0], files, passed


def _kind(path: Path) -> str:
    if path.is_dir():
        return _kind_of_folder(path)
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None and starts_like_idx(path):
        return "idx"
    if kind is None:
        raise InputError(
            f"{path} has an unknown format; known are .npz, .png (and .jpg, .webp, .bmp, .gif with --convert), .wav,"
            " .flac, .aiff, .ogg, .txt, CIFAR .bin and idx (or idx.gz) files"
        )
    return kind


def _kind_of_folder(folder: Path) -> str:
    paths = inside(folder)
    first = next(_files(folder), None)
    if first is None:
        raise InputError(f"{folder} is empty")
    if first.suffix.lower() in sound.ENDINGS:
        return "wav"
    if any(path.is_dir() or path.suffix.lower() in PICTURES for path in paths):
        return "png"
    if any(path.suffix == ".bin" for path in paths):
        return "cifar"
    if any(starts_like_idx(path) for path in paths):
        return "idx"
    raise InputError(
        f"{folder} has no PNG, WAV, CIFAR binary or idx files, but {paths[0].name}; name an .npz or .txt file itself"
    )


def _files(folder: Path, depth: int = 3) -> Iterator[Path]:
    """The files of a folder by name, then those of its folders (splits, then classes)."""
    paths = inside(folder)
    yield from (path for path in paths if not path.is_dir())
    for path in paths if depth > 1 else ():
        if path.is_dir():
            yield from _files(path, depth - 1)


def _expanded(path: Path, kind: str, passed: list[Path]) -> list[Path]:
    """The data files of a CIFAR or idx folder; the text files of CIFAR are ignored."""
    if kind in FOLDERS or not path.is_dir():
        return [path]
    files = inside(path, passed)
    if kind == "cifar":
        passed += [file for file in files if file.suffix != ".bin"]
        return [file for file in files if file.suffix == ".bin"]
    for file in files:
        if not starts_like_idx(file):
            raise InputError(f"{file} is not an idx file, but others in the folder are")
    return files


def inside(folder: Path, passed: list[Path] | None = None) -> list[Path]:
    """The content of a folder, by name; hidden files and files of file managers are added to `passed` instead."""
    paths, ignored = [], []
    for path in sorted(folder.iterdir()):
        check_name(path)
        ignore = path.name.startswith(".") or path.name.lower().strip() in SYSTEM_FILES
        (ignored if ignore else paths).append(path)
    if passed is not None:
        passed += ignored
    return paths


def check_name(path: Path) -> None:
    """InputError if a name is not valid text, so that it can neither be shown nor stored."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise InputError(f"{shown} has a name that is not UTF-8; rename it") from error
