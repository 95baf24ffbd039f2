"""A model's distribution, restricted to the colours that a picture can have.

A picture with a palette has few colours, and grey in three channels has 256. So p(x_c | what is known) is set to zero
where no colour of the picture has x_c and the known channels of its pixel, and normalised again. This takes fewer bits
than the model's own distribution: for grey almost none for the second and third channel.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, UInt8

from gen_jax.typing import Event

LEAST = np.float32(2.0**-40)  # for values that the model excludes, since a colour may need them


class Restriction:
    """The colours of the tiles of a block, and which channels are known; `saved` counts the bits that it saves.

    `palettes`: the colours of each tile, or None if its pixels may have any; the lanes after these tiles are empty.
    """

    def __init__(self, palettes: Sequence[UInt8[np.ndarray, "K C"] | None], event: Event):
        given = {lane: palette for lane, palette in enumerate(palettes) if palette is not None}
        size = max(len(palette) for palette in given.values())
        self._lanes = np.array([*given])
        # A palette is filled up with its last colour.
        self._colours = np.stack(
            [palette[np.minimum(np.arange(size), len(palette) - 1)] for palette in given.values()]
        ).astype(np.int32)
        self._channels = event.shape[-1]
        self._known = np.zeros(event.size, bool)
        self.saved = 0.0

    def of(
        self,
        pmf: Float[np.ndarray, "lanes *groups levels"],
        where: Int[np.ndarray, "*groups"],
        values: Int32[np.ndarray, "lanes D"],
        coded: Bool[np.ndarray, "lanes *groups"],
    ) -> Float[np.ndarray, "lanes *groups levels"]:
        """The restricted distributions of the values at the positions `where`, which count as known from now on."""
        before = pmf[self._lanes]
        allowed = self._allowed(np.ravel(where), values[self._lanes], pmf.shape[-1])
        after = np.where(allowed.reshape(before.shape), before + LEAST, np.float32(0))
        kept = after.sum(axis=-1, dtype=np.float64) / before.sum(axis=-1, dtype=np.float64)
        self.saved -= float(np.log2(kept[coded[self._lanes]]).sum())
        self._known[where] = True
        out = pmf.copy()
        out[self._lanes] = after
        return out

    def _allowed(
        self, where: Int[np.ndarray, " G"], values: Int32[np.ndarray, "lanes D"], levels: int
    ) -> Bool[np.ndarray, "lanes G levels"]:
        """Which values stand in a colour that agrees with all known channels of the pixel."""
        channel = where % self._channels
        fits = np.ones((len(self._lanes), len(where), self._colours.shape[1]), bool)
        for other in range(self._channels):
            place = where - channel + other
            agrees = self._colours[:, None, :, other] == values[:, place, None]
            fits &= agrees | ~self._known[place, None]
        lane, group, colour = np.nonzero(fits)
        allowed = np.zeros((*fits.shape[:2], levels), bool)
        allowed[lane, group, self._colours[lane, colour, channel[group]]] = True
        return allowed
