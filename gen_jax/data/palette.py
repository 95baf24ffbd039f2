"""Colour images as images of tokens: a pixel becomes the number of the nearest of the K colours of a palette."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from gen_jax.errors import InputError
from gen_jax.typing import Event

Colours = UInt8[np.ndarray, "K 3"]
ROWS = 20_000  # number of colours that are compared with the palette at once
IMAGES = 2048  # number of images that are quantised at once


def nearest(
    x: UInt8[np.ndarray, "*images 3"], colours: Colours
) -> Integer[np.ndarray, "*images 1"]:
    """The number of the colour nearest to each pixel; the smallest number if several are equally near.

    Each distinct colour is compared once. Whole numbers below 2^24 are exact in float32, so every machine computes the
    same tokens.
    """
    packed_of = lambda pixels: (pixels.astype(np.int32) << (16, 8, 0)).sum(axis=-1)  # noqa: E731
    parts = [x[first : first + IMAGES] for first in range(0, len(x), IMAGES)]
    occurs = np.zeros(2**24, bool)
    for part in parts:
        occurs[packed_of(part)] = True
    distinct = np.flatnonzero(occurs)
    table = np.empty(2**24, np.uint8 if len(colours) <= 256 else np.uint16)
    values = colours.astype(np.float32)
    half = (values**2).sum(axis=1) / 2
    for first in range(0, len(distinct), ROWS):
        packed = distinct[first : first + ROWS]
        pixels = (packed[:, None] >> np.array((16, 8, 0)) & 255).astype(np.float32)
        table[packed] = np.argmin(half - pixels @ values.T, axis=1)
    tokens = [table[packed_of(part)][..., None] for part in parts]
    return np.concatenate(tokens) if tokens else np.empty((*x.shape[:-1], 1), table.dtype)


def colours_of(event: Event, presentation: Mapping[str, Any]) -> Colours | None:
    """The palette of a data set, or None if it has none; InputError if the stored palette does not fit the event."""
    if "palette" not in presentation:
        return None
    try:
        stored = np.asarray(presentation["palette"])
    except ValueError:
        stored = np.empty(0)
    whole = stored.dtype.kind in "iu" and stored.shape == (event.levels, 3)
    if not whole or stored.min() < 0 or stored.max() > 255:
        raise InputError(
            "the palette of the examples is damaged: it is not a list of their colours"
        )
    return stored.astype(np.uint8)
