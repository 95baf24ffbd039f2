"""Folders of PNG files: splits and classes by sub-folder; grey of 1 or 8 bits or colour of 8 bits, as stored."""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gen_jax.data.importing.found import SPLIT_NAMES, Found, Part
from gen_jax.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"
KINDS = {"1": "1-bit grey", "L": "8-bit grey", "RGB": "8-bit colour"}
OTHERS = {
    "I;16B": "16-bit grey",
    "RGB;16B": "16-bit colour",
    "L;2": "2-bit grey",
    "L;4": "4-bit grey",
    "LA": "grey with alpha",
    "LA;16B": "16-bit grey with alpha",
    "RGBA": "colour with alpha",
    "RGBA;16B": "16-bit colour with alpha",
}
Files = list[tuple[Path, str | None]]  # each with the name of its class


def read(paths: list[Path], any_size: bool) -> Found:
    """Images by split, of one size unless `any_size`; InputError that names the file where one does not fit."""
    if any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise InputError(f"one folder of PNG files makes a data set, not {len(paths)} paths")
        splits = _splits(paths[0])
    else:
        splits = {"train": [(path, None) for path in paths]}
    everything = [item for files in splits.values() for item in files]
    names = sorted({name for _, name in everything if name is not None})
    for path, name in everything:
        if names and name is None:
            raise InputError(f"{path} is in no class folder, others are; use classes in all splits")

    first: tuple[Path, str, tuple[int, ...]] | None = None
    parts = {}
    for split, files in splits.items():
        images = []
        for path, _ in files:
            pixels, kind = read_png(path)
            first = first or (path, kind, pixels.shape)
            if kind != first[1]:
                raise InputError(
                    f"{path} is {kind}, {first[0]} is {first[1]}; a data set is of one kind"
                )
            if pixels.shape != first[2] and not any_size:
                raise InputError(
                    f"{path} is {_size(pixels.shape)}, {first[0]} is {_size(first[2])};"
                    " images of several sizes need --tiles SIDE"
                )
            images.append(pixels)
        labels = np.array([names.index(name) for _, name in files if name is not None], np.int32)
        x = images if any_size else np.stack(images)
        parts[split] = Part(x, [str(path) for path, _ in files], labels if names else None)
    return Found(parts, num_classes=len(names), class_names=names)


def read_png(path: Path) -> tuple[UInt8[np.ndarray, "H W C"], str]:
    """The integers of one file and its kind; InputError where it is broken, too large or of another kind."""
    content = path.read_bytes()
    if not content.startswith(SIGNATURE):
        raise InputError(f"{path} is no PNG")
    if END not in content:
        raise InputError(f"{path} is a broken PNG: it is cut short")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                raw = str(picture.tile[0].args)
                clear = "transparency" in picture.info
                frames = getattr(picture, "n_frames", 1)
                picture.verify()  # the checksum of every chunk, which load() passes over
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                picture.load()
                pixels = np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} is too large to read safely: {error}") from error
    except Exception as error:
        damaged = isinstance(error, Image.UnidentifiedImageError) or not str(error)
        what = "its header is damaged" if damaged else str(error).splitlines()[0]
        raise InputError(f"{path} is a broken PNG: {what}") from error
    if raw not in KINDS or clear or frames > 1:
        what = "palette" if raw.startswith("P") else OTHERS.get(raw, "transparent")
        what = "animated" if frames > 1 else what
        raise InputError(
            f"{path} is a PNG of kind {what}; only {', '.join(KINDS.values())} keep their integers"
        )
    return pixels.astype(np.uint8).reshape(*pixels.shape[:2], -1), KINDS[raw]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"


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
    """Folders and files that are not hidden, by name; InputError where there are none."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not inside:
        raise InputError(f"{folder} is empty")
    return [path for path in inside if path.is_dir()], [
        path for path in inside if not path.is_dir()
    ]
