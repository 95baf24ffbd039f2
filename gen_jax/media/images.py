"""Images: grids as PNG."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Integer
from markupsafe import Markup

from gen_jax.data.palette import Colours, colours_of
from gen_jax.data.png import png
from gen_jax.media import html, pictures
from gen_jax.media.medium import Medium
from gen_jax.typing import Event

COLUMNS = 16


class Images(Medium):
    """Images of levels (H, W, C), or of tokens (H, W, 1) in the colours of the `palette` in the presentation."""

    endings: ClassVar[tuple[str, ...]] = (".png",)

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Whether the event has height, width, channels and levels."""
        del presentation
        return len(event.shape) == 3 and event.levels is not None

    @property
    def palette(self) -> Colours | None:
        """The colours of tokens; None for levels of grey or of red, green and blue."""
        return colours_of(self.event, self.presentation)

    @property
    def levels(self) -> int:
        """The number of levels of the event."""
        assert self.event.levels is not None  # by `fits`
        return self.event.levels

    def encoded(self, x: Integer[np.ndarray, "N H W C"]) -> bytes:
        """A sheet of images as PNG, about as wide as it is high."""
        return self.sheet(x, max(1, round(len(x) ** 0.5)))

    def check_each(self) -> None:
        if self.palette is None and (self.levels > 256 or self.event.shape[2] not in (1, 3)):
            super().check_each()

    def each(self, x: Integer[np.ndarray, "H W C"]) -> bytes:
        """A PNG of the pixels alone, which `complete` and `compress` read back as the same levels."""
        return png(self.values(x[None])[0], depth=8)

    def rows(self, x: Integer[np.ndarray, "N K H W C"]) -> bytes:
        """A sheet with the images of each row side by side, about as wide as it is high."""
        count, length = x.shape[:2]
        across = max(1, round((count / length) ** 0.5))
        return self.sheet(x.reshape(-1, *x.shape[2:]), across * length)

    def values(self, x: Integer[np.ndarray, "N H W C"]) -> Integer[np.ndarray, "N H W _"]:
        """Values 0 to 255: greys, or red, green and blue."""
        return pictures.to_bytes(x, self.levels, self.palette)

    def figure(
        self,
        x: Integer[np.ndarray, "N H W C"],
        columns: int = COLUMNS,
        hidden: Bool[np.ndarray, "N H W"] | None = None,
        alt: str = "Images",
    ) -> Markup:
        """A sheet of images as a picture in a page; hidden pixels are blue. `alt`: what the images are."""
        rows = -(-len(x) // columns)
        shown = f"{len(x)}, in {rows} row{'s' * (rows > 1)}"
        return html.picture(self.sheet(x, columns, hidden), f"{alt}: {shown}")

    def sheet(
        self,
        x: Integer[np.ndarray, "N H W C"],
        columns: int,
        hidden: Bool[np.ndarray, "N H W"] | None = None,
    ) -> bytes:
        """A sheet of images in rows of `columns`, as PNG; hidden pixels are blue."""
        return pictures.sheet(x, self.levels, columns, self.palette, hidden)
