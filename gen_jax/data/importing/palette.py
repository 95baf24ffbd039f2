"""Palettes: turn a set of colour images into a set of tokens, with k-means over the pixels of its training split.

This follows Chen et al. 2020 ("Generative Pretraining from Pixels", section 3.2). Tokens are a different random
variable than colours, so log p of tokens is in bits/token and cannot be compared with bits/dim.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from gen_jax.data import prepared
from gen_jax.data.importing import writer
from gen_jax.data.importing.content import Content
from gen_jax.data.importing.splits import ORDER
from gen_jax.data.palette import IMAGES, Colours, nearest
from gen_jax.errors import InputError

PIXELS, BATCH, PASSES, SEED = 400_000, 4096, 10, 0  # for k-means
LUMA = (299, 587, 114)  # weights of red, green and blue in brightness


@dataclass(frozen=True)
class Palette:
    """A new prepared set of tokens and how well its palette fits the training split."""

    name: str
    folder: Path
    colours: int
    examples: dict[str, int]
    rms_error: float  # of a colour value, in levels of 0..255
    entropy: float  # of the tokens' frequencies, in bits per token
    checksum: str
    notes: list[str]

    def record(self) -> dict[str, Any]:
        """The fields as `--json` prints them."""
        return {**vars(self), "folder": str(self.folder)}

    def sentences(self) -> list[str]:
        """What `data palette` prints, one sentence per line; the folder comes last."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.examples.items())
        return [
            *self.notes,
            f"{counts}: images of {self.colours} colours, r.m.s. error {self.rms_error:.2f} of 255, entropy"
            f" {self.entropy:.2f} bits/token",
            f"{self.name} is in {self.folder}",
        ]


def make(name: str, colours: int, side: int | None = None, data_dir: Path | None = None) -> Palette:
    """Write the tokens of a prepared set of RGB images as a new set, at `side` x `side` if given.

    The palette is fitted on the training split only. InputError if the set has no train split or no RGB images, if it
    has fewer than `colours` colours, or if `side` does not divide the side of the images.
    """
    root = data_dir or prepared.default_data_dir()
    if not 2 <= colours <= 2**16:
        raise InputError(f"a palette has 2 to 65,536 colours, not {colours}")
    splits = {split: loaded for split in ORDER if (loaded := _load(name, split, data_dir))}
    if "train" not in splits:
        raise InputError(f"{name} has no train split to fit a palette on")
    train = splits["train"]
    pixels = {split: _pixels(examples, side) for split, examples in splits.items()}
    centres = fit(pixels["train"], colours)
    notes = []
    if len(centres) < colours:
        notes.append(f"only {len(centres)} of {colours} colours differ after rounding")
    tokens = {split: nearest(x, centres) for split, x in pixels.items()}
    presentation = {
        "palette": centres.tolist(),
        "checksum": hashlib.sha256(centres.tobytes()).hexdigest(),
        "unit": "token",
        "of": name,
        "version": train.version,
    }
    labels = {split: s.labels for split, s in splits.items() if s.labels is not None}
    content = Content(
        tokens, labels, len(centres), train.num_classes, list(train.class_names), presentation
    )
    sized = f"_{side}x{side}" if side else ""
    new = f"{name}{sized}_palette{colours}"
    folder = writer.there_already(new, content, root)
    if folder:
        notes.append("this content exists already; nothing was written")
    source = f"{name} {train.version} by a palette of {len(centres)} colours"
    folder = folder or writer.write(new, content, source, root)
    shares = np.bincount(tokens["train"].reshape(-1), minlength=len(centres)) / tokens["train"].size
    entropy = -float(np.sum(shares[shares > 0] * np.log2(shares[shares > 0])))
    return Palette(
        new, folder, len(centres), {split: len(x) for split, x in tokens.items()},
        rms_error(pixels["train"], tokens["train"], centres), entropy, presentation["checksum"], notes,
    )  # fmt: skip


def fit(x: UInt8[np.ndarray, "N H W 3"], colours: int) -> Colours:
    """The centres of k-means (Sculley 2010) over at most `PIXELS` pixels: rounded, distinct, from dark to light.

    InputError if the images have fewer than `colours` colours.
    """
    from sklearn.cluster import MiniBatchKMeans  # takes a second to import

    flat = x.reshape(-1, 3)
    rng = np.random.default_rng(SEED)
    chosen = flat[rng.permutation(len(flat))[:PIXELS]] if len(flat) > PIXELS else flat
    distinct = len(np.unique(chosen, axis=0))
    if distinct < colours:
        raise InputError(f"the images have {distinct} colours, fewer than {colours}")
    settings: dict[str, Any] = {"n_init": 1, "tol": 0.0, "max_no_improvement": None}
    settings |= {"batch_size": BATCH, "max_iter": PASSES, "random_state": SEED}
    means: Any = MiniBatchKMeans(colours, **settings)
    centres = np.round(means.fit(chosen.astype(np.float64)).cluster_centers_)
    centres = np.unique(centres.astype(np.uint8), axis=0)
    return centres[np.argsort(centres @ np.array(LUMA), kind="stable")]


def rms_error(
    x: UInt8[np.ndarray, "N H W 3"], tokens: Integer[np.ndarray, "N H W 1"], colours: Colours
) -> float:
    """The root mean squared difference between images and their palette colours, in levels of 0..255."""
    total = 0.0
    for first in range(0, len(x), IMAGES):
        rows = slice(first, first + IMAGES)
        shown = colours[tokens[rows, ..., 0]].astype(np.int32)
        total += float(np.sum((x[rows].astype(np.int32) - shown) ** 2))
    return math.sqrt(total / x.size)


def smaller(x: UInt8[np.ndarray, "N H W C"], side: int) -> UInt8[np.ndarray, "N side side C"]:
    """Means of square blocks in whole numbers, rounded half up; InputError if the side does not divide theirs."""
    height, width, channels = x.shape[1:]
    if height != width or height % side:
        raise InputError(
            f"images of {height}x{width} cannot be divided into equal blocks to make {side}x{side}"
        )
    block = height // side
    blocks = x.reshape(len(x), side, block, side, block, channels)
    total = blocks.sum(axis=(2, 4), dtype=np.uint32)
    return ((2 * total + block**2) // (2 * block**2)).astype(np.uint8)


def _load(name: str, split: str, data_dir: Path | None) -> prepared.Split | None:
    try:
        return prepared.load(name, split, data_dir)
    except prepared.SplitError:
        return None


def _pixels(split: prepared.Split, side: int | None) -> UInt8[np.ndarray, "N H W 3"]:
    """Values 0..255 of RGB images, reduced to `side` x `side` if given."""
    event = split.event
    if len(event.shape) != 3 or event.shape[2] != 3 or event.levels is None or event.levels > 256:
        raise InputError(
            f"a palette needs RGB images of at most 256 levels, {split.dataset} has examples of shape {event.shape}"
            f" with {event.levels} levels"
        )
    x = split.x[:]
    if event.levels < 256:
        x = np.round(np.arange(event.levels) * (255 / (event.levels - 1))).astype(np.uint8)[x]
    return smaller(x, side) if side else x
