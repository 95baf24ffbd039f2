"""The size of a split as a compressed file, compared with common lossless formats on the same images."""

import importlib.util
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from gen_jax.coding.codec import Codec, Content
from gen_jax.data.batches import take
from gen_jax.data.palette import Colours, colours_of
from gen_jax.data.prepared import Split
from gen_jax.media import pictures
from gen_jax.runs.run import Run

FORMATS = {
    "png": {"format": "PNG", "optimize": True},
    "webp": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
}
PLUGIN = "pillow_jxl"


def measure(run: Run, split: Split, count: int) -> dict[str, Any]:
    """Compress the first `count` examples and decompress them; sizes of our file and of other formats in bytes.

    InputError if the model has no codec, FloatingPointError if decompression does not return the same examples.
    """
    count = min(count, len(split))
    batch = take(split, np.arange(count), run.conditional)
    codec = Codec(run.experiment.model, run.variables)
    palette = colours_of(split.event, split.presentation)
    content = Content("npz", {"images": batch["x"]}, batch["cond"])
    data, size = codec.compress(content)
    if not np.array_equal(codec.decompress(data).arrays["images"], batch["x"]):
        raise FloatingPointError("the decompressed examples are not the compressed ones")
    return {"examples": count, **size.record(), **others(batch["x"], codec.levels, palette)}


def sentence(file: dict[str, Any], unit: str) -> str:
    """The size of our file, its difference from the model's bits, and the sizes of other formats."""
    names = {"png_bytes": "PNG", "webp_bytes": "WebP", "jpeg_xl_bytes": "JPEG XL"}
    others = [f"{name} {file[key]:,}" for key, name in names.items() if key in file]
    bits = f"{file['bits_per_dim']:.4f} {unit}, {file['overhead']:+.2%} against the model's bits"
    initial = f", {file['initial_bytes']:,.0f} of them initial" if file["initial_bytes"] else ""
    words = f"the first {file['examples']:,} as a file: {file['bytes']:,} bytes{initial} ({bits}"
    return f"{words}); lossless {', '.join(others)}" if others else f"{words})"


def others(x: np.ndarray, levels: int, palette: Colours | None = None) -> dict[str, int]:
    """Bytes of all images in one picture, lossless, as PNG, WebP and, if its plugin is installed, JPEG XL."""
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or (levels > 256 and palette is None):
        return {}
    shown = pictures.to_bytes(x, levels, palette)
    sheet = pictures.grid(shown, math.ceil(math.sqrt(len(x))), gap=0, background=0)
    picture = Image.fromarray(sheet if shown.shape[-1] == 3 else sheet[..., 0])
    picture = picture.convert("1") if levels == 2 else picture
    return {
        f"{name}_bytes": saved(picture if name == "png" else picture.convert("RGB"), options)
        for name, options in formats().items()
    }


def formats() -> dict[str, dict[str, Any]]:
    """The options of Pillow's lossless formats by name; JPEG XL is one of them if its plugin is installed."""
    if importlib.util.find_spec(PLUGIN) is None:
        return FORMATS
    importlib.import_module(PLUGIN)
    return {**FORMATS, "jpeg_xl": {"format": "JXL", "lossless": True, "effort": 7}}


def saved(picture: Image.Image, options: Mapping[str, Any]) -> int:
    """Bytes of a picture in a format with these options."""
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.tell()
