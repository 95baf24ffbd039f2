"""The report's film of an autoregressive model of images: it draws samples pixel by pixel, in the reader's browser.

The page holds the numbers of `evaluate/film.py` (deflate in base64) and the script `film.js`, which needs no network.
Probabilities are stored as 255 sqrt(p) and bits as 256 times their number, rounded; influence by a level from 0 (none)
to 15 (1), three to a factor of ten.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from markupsafe import Markup

from gen_jax.evaluate import film as films
from gen_jax.evaluate.film import Film, Scene
from gen_jax.media import html
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium, Section
from gen_jax.report.codes import colours
from gen_jax.runs.run import Trained

SAMPLES, DECADES, LEVELS = 3, 5, 15
SCRIPT = (Path(__file__).parent / "film.js").read_text()
DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
MARK = 'class="film"'


def sections(medium: Medium, run: Trained, x: np.ndarray | None) -> Iterator[Section]:
    """The film of the first samples x, or one for each stage; why there is none if the images are too large."""
    if x is None or not isinstance(medium, Images):
        return
    for scene in films.scenes(run, x[:SAMPLES]):
        title = f"Pixel by pixel, {scene.name}" if scene.name else "Pixel by pixel"
        height, width, _ = scene.model.event.shape
        if height * width <= films.LARGEST:
            yield title, shown(films.film(scene), colour_table(medium, scene))
            continue
        few = f"There are films of images of at most {films.LARGEST:,} pixels"
        yield title, html.paragraph(f"{few}, and these have {height * width:,}.")


def shown(film: Film, table: np.ndarray) -> Markup:
    """The film with its caption; the script makes its picture, bars and controls."""
    content = json.dumps(packed(film, table), separators=(",", ":"))
    merged = len(film.edges) - 1 < film.event.num_levels
    other = "another pixel" if film.side == 1 else f"a block of {film.side}x{film.side} pixels"
    caption = (
        f"The model draws {len(film.x)} samples value by value. Left: the image so far, with the next pixel framed."
        f" Right: how much the distribution of that pixel changes (total variation) if {other} changes, from"
        " 0.00002 (dark) to 1 (bright), measured on the first sample; what is grey has no influence, the line surrounds"
        " the pixels that the model declares. Below: the distribution p(x_i | x_<i)"
        f"{' in bins of levels' if merged else ''}. Point at a pixel to see its own. The film takes"
        f" {len(content) / 1000:,.0f} kB of this page."
    )
    mark = Markup(MARK)
    place = Markup('<div {} data-film="{}"><noscript>The film needs JavaScript.</noscript></div>')
    return html.paragraph(caption) + place.format(mark, content)


def packed(film: Film, table: np.ndarray) -> dict[str, object]:
    """The film as the script reads it."""
    in_raster = np.array_equal(film.order, np.arange(len(film.order)))
    return {
        "shape": film.event.shape,
        "side": film.side,
        "samples": len(film.x),
        "edges": film.edges.tolist(),
        "order": None if in_raster else _bytes(film.order, np.uint16),
        "x": _bytes(film.x, np.uint16),
        "shares": _bytes(np.rint(255 * np.sqrt(film.shares)), np.uint8),
        "bits": _bytes(np.rint(256 * np.minimum(film.bits, 255)), np.uint16),
        "influence": _bytes(levels_of(film.influence), np.uint8),
        "declared": _bytes(film.declared, np.uint8),
        "table": _bytes(table, np.uint8),
    }


def levels_of(influence: np.ndarray) -> np.ndarray:
    """Levels 0 to 15 of an influence in [0, 1]; only a zero is 0."""
    tens = np.log10(np.maximum(influence, 1e-30))
    level = np.rint(LEVELS * (1 + tens / DECADES))
    return np.where(influence > 0, np.clip(level, 1, LEVELS), 0)


def colour_table(medium: Images, scene: Scene) -> np.ndarray:
    """The colour of each level (levels, 3): those of the medium, or of codes, equal colours for equal codes."""
    event = scene.model.event
    if scene.name and event.levels != medium.event.levels:
        return np.rint(255 * colours(event.num_levels))
    shown = medium if event.levels == medium.event.levels else Images(event, {})
    every = np.arange(event.num_levels).reshape(-1, 1, 1, 1)
    return np.broadcast_to(shown.values(every).reshape(len(every), -1), (len(every), 3))


def _bytes(values: np.ndarray, dtype: type) -> str:
    """Little-endian integers, compressed, in base64."""
    raw = np.ascontiguousarray(values).astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    return base64.b64encode(zlib.compress(raw, 9)).decode()
