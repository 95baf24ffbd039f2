"""What `compress` reads and `decompress` writes: one .npz file of arrays, or PNG files.

From PNG the pixels come back, and the mode; what else lies in the file (gamma, text, time) does not. Several pictures
come back under their names in a new folder. The array `labels` of an .npz file holds the class of each example.
"""

import os
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from gen_jax.coding.codec import Content
from gen_jax.coding.container import TYPES, Kind
from gen_jax.coding.tiles import values_of
from gen_jax.errors import InputError
from gen_jax.evaluate.pictures import read_png, to_grey
from gen_jax.typing import Event

LABELS = "labels"


def read(paths: list[Path], model_event: Event, label: int | None = None) -> Content:
    """The content of the files; InputError, with the file's name, on the first that does not fit the model."""
    endings = {path.suffix.lower() for path in paths}
    if endings == {".npz"} and len(paths) == 1:
        content = _read_npz(paths[0], model_event)
    elif endings == {".png"}:
        content = _read_pngs(paths, model_event)
    else:
        raise InputError("one .npz file or any number of .png files can be compressed into a file")
    if label is None:
        return content
    if content.labels is not None:
        raise InputError(f"--label: {paths[0]} has its own labels")
    count = sum(len(x) for x in content.arrays.values())
    return Content(content.kind, content.arrays, np.full(count, label, np.int64))


def check_out(kind: Kind, count: int, out: Path) -> None:
    """InputError where so many arrays cannot be written under this name."""
    if kind == "npz" or count == 1:
        ending = f".{kind}"
        if out.suffix.lower() != ending:
            raise InputError(f"the file holds {ending[1:]}: -o needs a name that ends in {ending}")
        if out.is_dir():
            raise InputError(f"-o: {out} is a folder")
    elif out.exists() or out.suffix.lower() in (".png", ".npz"):
        raise InputError("the file holds several pictures: -o needs a new folder")


def write(content: Content, out: Path, levels: int) -> None:
    """Write what was read, beside and renamed; InputError where a name would leave the folder."""
    check_out(content.kind, len(content.arrays), out)
    beside = out.with_name(out.name + ".tmp")
    if content.kind == "npz":
        _write_npz(content, beside)
    elif len(content.arrays) == 1:
        [x] = content.arrays.values()
        _picture(x, levels).save(beside, format="PNG")
    else:
        beside.mkdir(parents=True, exist_ok=True)
        for name, x in content.arrays.items():
            if not name or name != os.path.basename(name) or name in (".", "..") or "\\" in name:
                raise InputError(f"{name!r} is no name for a picture")
            _picture(x, levels).save(beside / name, format="PNG")
    beside.replace(out)


def _read_npz(path: Path, event: Event) -> Content:
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:
        raise InputError(f"{path} is no readable .npz file: {error}") from error
    labels = arrays.pop(LABELS, None)
    if not arrays:
        raise InputError(f"{path} holds no array of events")
    for name, x in arrays.items():
        try:
            values_of(x, event)
        except InputError as error:
            raise InputError(f"{path}: {name}: {error}") from error
    if labels is None:
        return Content("npz", arrays)
    if labels.dtype.str not in TYPES or labels.ndim != 1:
        raise InputError(f"{path}: {LABELS} should be integers, one for each example")
    return Content("npz", arrays, labels, labels.dtype.str)


def _write_npz(content: Content, path: Path) -> None:
    arrays = dict(content.arrays)
    if content.labels is not None and content.kept:
        arrays[LABELS] = content.labels.astype(content.kept)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # takes any name of an array
        for name, x in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, x, allow_pickle=False)


def _read_pngs(paths: list[Path], event: Event) -> Content:
    if len(event.shape) != 3 or event.levels is None or event.levels > 256:
        raise InputError("only models of images of at most 256 levels can compress PNG")
    if event.shape[2] not in (1, 3):
        raise InputError(f"PNG files have 1 or 3 channels, the model is of {event.shape[2]}")
    arrays = {}
    for path in paths:
        x, mode = read_png(path, event.shape[2], event.levels)
        if mode == "1" and event.levels != 2:
            raise InputError(f"{path} is a PNG of one bit, the model has {event.levels} levels")
        name = path.name if len(paths) > 1 else ""
        if name in arrays:
            raise InputError(f"two pictures have the name {name}")
        arrays[name] = x[None].astype(bool if mode == "1" else np.uint8)
        _refuse_transparency(path)
    return Content("png", arrays)


def _refuse_transparency(path: Path) -> None:
    with Image.open(path) as picture:
        if picture.format != "PNG":
            raise InputError(f"{path} is no PNG but {picture.format}")
        if "transparency" in picture.info or getattr(picture, "n_frames", 1) > 1:
            raise InputError(
                f"{path} has a transparent colour or several frames, which would be lost"
            )


def _picture(x: np.ndarray, levels: int) -> Image.Image:
    grey = to_grey(x[0], levels)
    picture = Image.fromarray(grey[..., 0] if grey.shape[-1] == 1 else grey)
    return picture.convert("1") if x.dtype == bool else picture
