"""Images: grids as PNG."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Integer
from markupsafe import Markup

from gen_jax.media import html, pictures
from gen_jax.media.medium import Medium
from gen_jax.typing import Event

COLUMNS = 16


class Images(Medium):
    """Pixels of levels (H, W, C)."""

    endings: ClassVar[tuple[str, ...]] = (".png",)

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Where the event has height, width and channels, and levels."""
        del presentation
        return len(event.shape) == 3 and event.levels is not None

    @property
    def levels(self) -> int:
        """Number of grey levels of the event."""
        assert self.event.levels is not None  # it fits
        return self.event.levels

    def encoded(self, x: Integer[np.ndarray, "N H W C"]) -> bytes:
        """A sheet about as wide as high."""
        return pictures.sheet(x, self.levels, columns=max(1, round(len(x) ** 0.5)))

    def figure(self, x: Integer[np.ndarray, "N H W C"], columns: int = COLUMNS) -> Markup:
        """A sheet of images as PNG."""
        return html.picture(pictures.sheet(x, self.levels, columns))
