"""Pictures of any kind as 8-bit grey or colour, cropped and resized, for training; what was done is recorded.

Nothing that is compressed is converted: `compress` reads PNG files bit for bit (`data/png.py`).
"""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from gen_jax.data.opening import check_size, read_regular
from gen_jax.data.png import Png, read_png, unlimited
from gen_jax.errors import InputError, first_line

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF"}
KINDS = {"grey": "8-bit grey", "rgb": "8-bit colour"}
ENLARGED = "enlarged"
ORIENTATION = 0x0112  # the number of this EXIF tag
MODES = {"grey": "L", "rgb": "RGB"}
HINT = "--convert rgb or --convert grey converts pictures, for training only"
Mode = Literal["rgb", "grey"] | None
Size = tuple[int, int]  # height and width
Crop = Size | Literal["square"] | None
Done = Counter[str]  # what was done to how many pictures


@dataclass(frozen=True)
class Conversion:
    """What is done to each picture, in this order.

    - `mode`: decode PNG, JPEG, WebP, BMP or GIF, turn it as its EXIF orientation says, put transparent pixels on white,
      scale 16 bits to 8, and convert palettes and colours to `rgb`, or to `grey` by ITU-R 601.
    - `crop`: keep the central part of this size, or the largest central square.
    - `resize`: scale to this size, bicubic with antialiasing, both sides by the same factor.
    """

    mode: Mode = None
    crop: Crop = None
    resize: Size | None = None

    def __bool__(self) -> bool:
        return bool(self.mode or self.crop or self.resize)

    def read(self, path: Path, done: Done, max_bytes: int | None = None) -> Png:
        """The converted samples of a file, counted in `done`.

        InputError if it cannot be read, is too small or would be distorted.
        """
        picture = self._converted(path, done, max_bytes) if self.mode else read_png(path, max_bytes)
        x = picture.samples
        if self.crop:
            x = self._cropped(x, path)
        if self.resize:
            if picture.depth != 8:
                raise InputError(f"{path} is {picture.kind}: --resize needs --convert grey")
            x = self._resized(x, path, done)
        return Png(x, picture.depth, picture.kind)

    def sentences(self, done: Done) -> list[str]:
        """What was done, for the metadata of the data set."""
        steps = []
        if self.mode:
            kinds = sorted(what for what in done if what != ENLARGED)
            counts = ", ".join(f"{done[what]} {what}" for what in kinds)
            steps.append(f"converted to {KINDS[self.mode]} ({counts})")
        if self.crop:
            part = "square" if self.crop == "square" else _text(self.crop)
            steps.append(f"cropped to the central {part}")
        if self.resize:
            enlarged = f", {done[ENLARGED]} enlarged" if done[ENLARGED] else ""
            steps.append(f"resized to {_text(self.resize)}, bicubic with antialiasing{enlarged}")
        return steps

    def _converted(self, path: Path, done: Done, max_bytes: int | None) -> Png:
        content = read_regular(path)
        assert self.mode is not None
        try:
            file, formats = io.BytesIO(content), ["PNG", *FORMATS.values()]
            with unlimited(), Image.open(file, formats=formats) as picture:
                check_size(path, 3 * picture.width * picture.height, len(content), max_bytes)
                if getattr(picture, "n_frames", 1) > 1:
                    raise InputError(f"{path} is animated: it has several pictures")
                done.update([str(picture.format)])
                samples = _samples(picture, MODES[self.mode], done)
        except InputError:
            raise
        except Exception as error:
            unknown = isinstance(error, Image.UnidentifiedImageError) or not str(error)
            why = "it is none of PNG, JPEG, WebP, BMP and GIF" if unknown else first_line(error)
            raise InputError(f"{path} is not a readable picture: {why}") from error
        return Png(samples, 8, KINDS[self.mode])

    def _cropped(self, x: UInt8[np.ndarray, "H W C"], path: Path) -> UInt8[np.ndarray, "h w C"]:
        there = x.shape[:2]
        size = (min(there), min(there)) if self.crop == "square" else self.crop
        assert size
        if size[0] > there[0] or size[1] > there[1]:
            raise InputError(f"{path} is {_text(there)}, too small for --crop {_text(size)}")
        top, left = ((have - want) // 2 for have, want in zip(there, size, strict=True))
        return x[top : top + size[0], left : left + size[1]]

    def _resized(
        self, x: UInt8[np.ndarray, "H W C"], path: Path, done: Done
    ) -> UInt8[np.ndarray, "h w C"]:
        assert self.resize is not None
        height, width = self.resize
        if abs(x.shape[0] * width - x.shape[1] * height) >= x.shape[1]:  # a row of the result
            raise InputError(
                f"{path} is {_text(x.shape[:2])}: --resize {_text(self.resize)} would distort it; --crop cuts it first,"
                " such as --crop square"
            )
        if x.shape[0] < height:
            done.update([ENLARGED])
        picture = Image.fromarray(x[..., 0] if x.shape[2] == 1 else np.ascontiguousarray(x))
        scaled = picture.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(scaled).reshape(height, width, -1)


UNCHANGED = Conversion()


def _samples(picture: Image.Image, mode: str, done: Done) -> UInt8[np.ndarray, "H W C"]:
    """The samples of a picture of any kind."""
    picture.load()
    if picture.getexif().get(ORIENTATION, 1) != 1:
        done.update(["turned"])
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits
        done.update(["with 16 bits"])
        grey = np.round(np.asarray(picture, np.float64) / 257).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(grey)
    elif picture.mode == "P":
        done.update(["with a palette"])
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        done.update(["with alpha, put on white"])
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    samples = np.asarray(picture.convert(mode))
    return samples.reshape(*samples.shape[:2], -1)


def _text(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
