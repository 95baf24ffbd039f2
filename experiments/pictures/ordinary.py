"""Ordinary PNG files of several kinds, made from one photograph: `write` puts them into a folder."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gen_jax.data.png import Png, encoded

HEIGHT, WIDTH = 120, 160
COLOUR, GREY = "image_transformer_cifar10_small", "sparse_transformer_mnist"
# Name of the file, and the models that code it.
FILES = {
    "colour": (COLOUR,),
    "colour_alpha": (COLOUR,),
    "colour_16": (COLOUR,),
    "grey": (COLOUR, GREY),
    "grey_alpha": (COLOUR,),
    "grey_16": (COLOUR,),
    "black_white": (COLOUR, GREY),
    "palette_16": (COLOUR,),
    "palette_256": (COLOUR,),
    "odd": (COLOUR,),
    "pixel": (COLOUR,),
}


def write(folder: Path, photo: UInt8[np.ndarray, "H W 3"]) -> list[Path]:
    """Crops from the middle of a photograph, in the order of `FILES`.

    Alpha is a disc with a soft edge; 16 bits are averages of four pixels, or the weighted sum of three channels.
    """
    colour = _middle(photo, HEIGHT, WIDTH)
    whole = Image.fromarray(colour)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(rows - HEIGHT / 2, columns - WIDTH / 2)
    alpha = np.clip(255 * (HEIGHT / 2 - distance) / 8, 0, 255).astype(np.uint8)[..., None]
    grey = np.asarray(whole.convert("L"))[..., None]
    large = _middle(photo, 2 * HEIGHT, 2 * WIDTH).reshape(HEIGHT, 2, WIDTH, 2, 3)
    fine = np.round(large.sum(axis=(1, 3)) * (65535 / 1020)).astype(np.uint16)
    weighted = np.round(colour @ np.array([0.299, 0.587, 0.114]) * 257).astype(np.uint16)
    pictures = {
        "colour": whole,
        "colour_alpha": Image.fromarray(np.concatenate([colour, alpha], axis=2)),
        "colour_16": Png(fine, 16, "16-bit colour"),
        "grey": whole.convert("L"),
        "grey_alpha": Image.fromarray(np.concatenate([grey, alpha], axis=2)),
        "grey_16": Image.fromarray(weighted),
        "black_white": whole.convert("1"),
        "palette_16": whole.quantize(16, dither=Image.Dither.NONE),
        "palette_256": whole.quantize(256),
        "odd": Image.fromarray(_middle(photo, 53, 37)),
        "pixel": Image.fromarray(_middle(photo, 1, 1)),
    }
    paths = [folder / f"{name}.png" for name in FILES]
    for path, name in zip(paths, FILES, strict=True):
        picture = pictures[name]
        if isinstance(picture, Png):
            path.write_bytes(encoded(picture))
        else:
            picture.save(path, optimize=True)
    return paths


def _middle(photo: UInt8[np.ndarray, "H W 3"], height: int, width: int) -> UInt8[np.ndarray, "..."]:
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    return photo[top : top + height, left : left + width]
