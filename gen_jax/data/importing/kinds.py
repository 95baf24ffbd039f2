"""What kind of files the given paths are, by name and, for idx, by first bytes."""

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


def kind_and_files(paths: list[Path]) -> tuple[str, list[Path]]:
    """One of `WORDS`, and the files to read; InputError where kinds differ. A folder of PNG or WAV files stays one."""
    for path in paths:
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
    files = [file for path in paths for file in _expanded(path, kinds[0])]
    return kinds[0], files


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
    if _first_file(folder).suffix.lower() == ".wav":
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


def _first_file(folder: Path) -> Path:
    """The first by name, the files of a folder before those of its folders."""
    held = inside(folder)
    return next((path for path in held if not path.is_dir()), None) or _first_file(held[0])


def _expanded(path: Path, kind: str) -> list[Path]:
    """The data files of a CIFAR or idx folder; the notes that CIFAR comes with are passed over."""
    if kind in FOLDERS or not path.is_dir():
        return [path]
    held = inside(path)
    if kind == "cifar":
        return [file for file in held if file.suffix == ".bin"]
    for file in held:
        if not starts_like_idx(file):
            raise InputError(f"{file} is no idx file, others in the folder are")
    return held


def inside(folder: Path) -> list[Path]:
    """What a folder holds and does not hide, by name; InputError where that is nothing."""
    held = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not held:
        raise InputError(f"{folder} is empty")
    return held
