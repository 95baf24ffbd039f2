"""What kind of files the given paths are, by name and, for idx, by first bytes."""

from collections.abc import Iterator
from pathlib import Path

from gen_jax.data.formats import starts_like_idx
from gen_jax.errors import InputError

ENDINGS = {".npz": "npz", ".png": "png", ".wav": "wav", ".txt": "text", ".bin": "cifar"}
WORDS = {
    "npz": ".npz",
    "png": "PNG",
    "wav": "WAV",
    "text": "text",
    "cifar": "CIFAR binary",
    "idx": "idx",
}
FOLDERS = ("png", "wav")  # kinds whose folders hold splits and classes
# By file managers of other systems, in small letters.
PUT_THERE = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon", "__macosx", "$recycle.bin")


def kind_and_files(paths: list[Path]) -> tuple[str, list[Path], list[Path]]:
    """One of `WORDS`, the files to read, and those passed over; InputError where kinds differ.

    A folder of PNG or WAV files stays one.
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
            f"{path} is of no known kind; there are .npz, .png, .wav, .txt, CIFAR .bin and idx (or idx.gz) files"
        )
    return kind


def _kind_of_folder(folder: Path) -> str:
    held = inside(folder)
    first = next(_files(folder), None)
    if first is None:
        raise InputError(f"{folder} is empty")
    if first.suffix.lower() == ".wav":
        return "wav"
    if any(path.is_dir() or path.suffix.lower() == ".png" for path in held):
        return "png"
    if any(path.suffix == ".bin" for path in held):
        return "cifar"
    if any(starts_like_idx(path) for path in held):
        return "idx"
    raise InputError(
        f"{folder} holds no PNG, WAV, CIFAR binary or idx files, but {held[0].name}; give an .npz or .txt file itself"
    )


def _files(folder: Path, depth: int = 3) -> Iterator[Path]:
    """By name, the files of a folder before those of its folders, splits and classes deep."""
    held = inside(folder)
    yield from (path for path in held if not path.is_dir())
    for path in held if depth > 1 else ():
        if path.is_dir():
            yield from _files(path, depth - 1)


def _expanded(path: Path, kind: str, passed: list[Path]) -> list[Path]:
    """The data files of a CIFAR or idx folder; the notes that CIFAR comes with are passed over."""
    if kind in FOLDERS or not path.is_dir():
        return [path]
    held = inside(path, passed)
    if kind == "cifar":
        passed += [file for file in held if file.suffix != ".bin"]
        return [file for file in held if file.suffix == ".bin"]
    for file in held:
        if not starts_like_idx(file):
            raise InputError(f"{file} is no idx file, others in the folder are")
    return held


def inside(folder: Path, passed: list[Path] | None = None) -> list[Path]:
    """What a folder holds, by name; what it hides and what file managers put there joins `passed`."""
    held, other = [], []
    for path in sorted(folder.iterdir()):
        check_name(path)
        put = path.name.startswith(".") or path.name.lower().strip() in PUT_THERE
        (other if put else held).append(path)
    if passed is not None:
        passed += other
    return held


def check_name(path: Path) -> None:
    """InputError where a name is no text, and so could be neither shown nor stored."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise InputError(f"{shown} has a name that is no UTF-8; rename it") from error
