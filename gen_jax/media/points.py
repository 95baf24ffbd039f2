"""Points in the plane: scatter plots."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gen_jax.media import html
from gen_jax.media.medium import Medium
from gen_jax.typing import Event

SHOWN = 2000  # points


class Points(Medium):
    """Points in the plane: real vectors of shape (2,)."""

    endings: ClassVar[tuple[str, ...]] = (".png",)
    num: ClassVar[int] = SHOWN
    num_in_report: ClassVar[int] = SHOWN

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Whether the event is two real numbers."""
        del presentation
        return event.shape == (2,) and event.levels is None

    def encoded(self, x: Float[np.ndarray, "N 2"]) -> bytes:
        """A scatter plot as PNG."""
        return html.png(_scatter(x), dpi=150)

    def figure(self, x: Float[np.ndarray, "N 2"]) -> Markup:
        """A scatter plot as a picture in a page."""
        return html.plot(_scatter(x), f"Scatter plot of {len(x)} points")


def _scatter(x: Float[np.ndarray, "N 2"]) -> Figure:
    figure = Figure(figsize=(5, 5), layout="constrained")
    dots(figure.subplots(), x, x)
    return figure


def dots(axes: Axes, x: Float[np.ndarray, "N 2"], source: Float[np.ndarray, "N 2"]) -> None:
    """Plot points, coloured by the first coordinate of the points in `source`."""
    axes.scatter(*x.T, s=2, c=source[:, 0], cmap="viridis", linewidths=0, rasterized=True)
    axes.set_aspect("equal", adjustable="datalim")
