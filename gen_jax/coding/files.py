"""Files that `compress` reads and `decompress` writes: one .npz file of arrays, or PNG files.

A PNG file comes back with its samples, kind, palette and transparency, but without interlacing, gamma and text. A model
with a palette codes the nearest colour of its palette for each pixel, so that the file restores those colours, not the
original ones. Several pictures are restored under their names in a new folder. The array `labels` of an .npz file holds
the classes of the examples.
"""

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from gen_jax import disk
from gen_jax.coding import container, planes
from gen_jax.coding.codec import Content
from gen_jax.coding.container import PACKED, TYPES, Kind
from gen_jax.coding.planes import Side
from gen_jax.coding.tiles import values_of
from gen_jax.data.npz import read_npz
from gen_jax.data.palette import Colours
from gen_jax.data.png import encoded, png, read_every_png
from gen_jax.errors import InputError
from gen_jax.media.pictures import levels_of, read_levels, to_bytes
from gen_jax.typing import Event

LABELS = "labels"


def read(
    paths: list[Path],
    model_event: Event,
    label: int | None = None,
    max_bytes: int | None = None,
    palette: Colours | None = None,
) -> Content:
    """The content of the files; InputError naming the first file that does not fit the model."""
    endings = {path.suffix.lower() for path in paths}
    if endings == {".npz"} and len(paths) == 1:
        content = _read_npz(paths[0], model_event, max_bytes)
    elif endings == {".png"}:
        content = _read_pngs(paths, model_event, max_bytes, palette)
    else:
        raise InputError("compress takes one .npz file or any number of .png files")
    if label is None:
        return content
    if content.labels is not None:
        raise InputError(f"--label: {paths[0]} has its own labels")
    count = sum(len(x) for x in content.arrays.values())
    return replace(content, labels=np.full(count, label, np.int64))


def check_out(kind: Kind, count: int, out: Path) -> None:
    """InputError if `count` arrays cannot be written under this name."""
    if kind == "npz" or count == 1:
        ending = f".{kind}"
        if out.suffix.lower() != ending:
            raise InputError(f"the content is {ending[1:]}: -o needs a name that ends in {ending}")
        if out.is_dir():
            raise InputError(f"-o: {out} is a folder")
    elif os.path.lexists(out) or out.suffix.lower() in (".png", ".npz"):
        raise InputError("the file contains several pictures: -o needs a new folder")


def write(content: Content, out: Path, levels: int, palette: Colours | None = None) -> None:
    """Write the content under a temporary name, then rename it; InputError for a name that leaves the folder."""
    check_out(content.kind, len(content.arrays), out)
    container.check_names(content.kind, content.entries)
    if content.kind == "npz":
        with disk.new_file(out) as file:
            _write_npz(content, file)
        return
    pictures = {
        name: encoded(planes.join(x[0], content.sides[name]))
        if name in content.sides
        else _picture(x, levels, content.packed.get(name), palette)
        for name, x in content.arrays.items()
    }
    if len(pictures) == 1:
        [data] = pictures.values()
        disk.write_atomically(out, data)
        return
    with disk.new_folder(out) as folder:
        for name, data in pictures.items():
            try:
                with (folder / name).open("xb") as file:
                    file.write(data)
            except FileExistsError as error:
                raise InputError(
                    f"this folder cannot hold {name!r} and a name that differs in case only"
                ) from error


def _read_npz(path: Path, event: Event, max_bytes: int | None) -> Content:
    arrays = read_npz(path, max_bytes)
    labels = arrays.pop(LABELS, None)
    if not arrays:
        raise InputError(f"{path} has no array of events")
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


def _write_npz(content: Content, target: IO[bytes]) -> None:
    arrays = dict(content.arrays)
    if content.labels is not None and content.labels_dtype:
        arrays[LABELS] = content.labels.astype(content.labels_dtype)
    # Unlike np.savez, zipfile accepts any name of an array.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, x in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, x, allow_pickle=False)


def _read_pngs(
    paths: list[Path], event: Event, max_bytes: int | None, palette: Colours | None
) -> Content:
    few = event.levels is not None and (event.levels <= 256 or palette is not None)
    if len(event.shape) != 3 or not few:
        raise InputError("only models of images of at most 256 levels can compress PNG")
    if event.shape[2] not in (1, 3):
        raise InputError(f"PNG files have 1 or 3 channels, the model has {event.shape[2]}")
    content = Content("png", {})
    for path in paths:
        name = path.name if len(paths) > 1 else ""
        if name in content.arrays:
            raise InputError(f"two pictures have the name {name}")
        if palette is None:
            x, depth, side = _read_png(path, event, max_bytes)
        else:
            (x, depth), side = read_levels(path, event, max_bytes, palette), None
        one_bit = depth == 1 and event.levels == 2 and palette is None
        content.arrays[name] = x[None].astype(bool) if one_bit else x[None]
        if side:
            content.sides[name] = side
        elif depth < 8 and not one_bit:
            content.packed[name] = f"{depth}-bit"
    return content


def _read_png(
    path: Path, event: Event, max_bytes: int | None
) -> tuple[np.ndarray, int, Side | None]:
    """The levels of a picture, its bits per sample, and what else it has; InputError if the model cannot code it."""
    picture, channels = read_every_png(path, max_bytes), event.shape[2]
    if planes.plain(picture.kind, picture.transparency, channels):
        return levels_of(path, picture, event), picture.depth, None
    if planes.own_channels(picture.kind) > channels:
        raise InputError(f"{path} is a PNG of kind {picture.kind}, the model has 1 channel(s)")
    if event.levels != planes.LEVELS:
        transparent = "transparent " if picture.transparency else ""
        raise InputError(
            f"{path} is a PNG of kind {transparent}{picture.kind}, which needs a model of {planes.LEVELS} levels"
        )
    x, side = planes.split(picture, channels)
    return x, picture.depth, side


def _picture(x: np.ndarray, levels: int, packed: str | None, palette: Colours | None) -> bytes:
    """A PNG with the original bits per sample; InputError if a forged file does not describe a picture."""
    depth = 1 if x.dtype == bool else PACKED.get(packed or "", 8)
    if x.ndim != 4 or len(x) != 1 or x.shape[3] not in ((1, 3) if depth == 8 else (1,)):
        raise InputError(f"it is damaged: {x.shape} is not a picture of {depth} bits per sample")
    samples, rest = np.divmod(to_bytes(x[0], levels, palette), 255 // (2**depth - 1))
    if rest.any():
        raise InputError(f"it is damaged: a picture of {depth} bits has greys it cannot have")
    return png(samples, depth)
