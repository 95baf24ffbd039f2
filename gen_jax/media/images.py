"""Images: grids as PNG."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Integer
from markupsafe import Markup

from gen_jax.data.palette import Colours, colours_of
from gen_jax.media import html, pictures
from gen_jax.media.medium import Medium
from gen_jax.typing import Event

COLUMNS = 16


class Images(Medium):
    """Pixels of levels (H, W, C), or tokens (H, W, 1) of the `palette` of the presentation."""

    endings: ClassVar[tuple[str, ...]] = (".png",)

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Where the event has height, width and channels, and levels."""
        del presentation
        return len(event.shape) == 3 and event.levels is not None

    @property
    def palette(self) -> Colours | None:
        """The colours of tokens; None for levels of grey or of red, green and blue."""
        return colours_of(self.event, self.presentation)

    @property
    def levels(self) -> int:
        """Number of grey levels of the event."""
        assert self.event.levels is not None  # it fits
        return self.event.levels

    def encoded(self, x: Integer[np.ndarray, "N H W C"]) -> bytes:
        """A sheet about as wide as high."""
        return self.sheet(x, max(1, round(len(x) ** 0.5)))

    def figure(self, x: Integer[np.ndarray, "N H W C"], columns: int = COLUMNS) -> Markup:
        """A sheet of images as PNG."""
        return html.picture(self.sheet(x, columns))

    def sheet(self, x: Integer[np.ndarray, "N H W C"], columns: int) -> bytes:
        """Rows of `columns` images as PNG."""
        return pictures.sheet(x, self.levels, columns, self.palette)
