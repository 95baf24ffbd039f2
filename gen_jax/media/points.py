"""Points of the plane: scatter plots, and what a report shows of a bijection between them and noise."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gen_jax.data.batches import spread
from gen_jax.data.prepared import Split
from gen_jax.density import Bijective
from gen_jax.media import html
from gen_jax.media.medium import Medium, Section
from gen_jax.runs.run import Run
from gen_jax.typing import Event

SHOWN, LINES, AROUND = 2000, 25, 2.5  # points, lines of a grid each way, deviations that it spans


class Points(Medium):
    """Real pairs (2,)."""

    endings: ClassVar[tuple[str, ...]] = (".png",)
    num: ClassVar[int] = SHOWN
    num_in_report: ClassVar[int] = SHOWN

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Where the event is two reals."""
        del presentation
        return event.shape == (2,) and event.levels is None

    def encoded(self, x: Float[np.ndarray, "N 2"]) -> bytes:
        """A scatter plot."""
        return html.png(_scatter(x), dpi=150)

    def figure(self, x: Float[np.ndarray, "N 2"]) -> Markup:
        """A scatter plot."""
        return html.plot(_scatter(x))

    def sections(self, run: Run, given: Split) -> Iterator[Section]:
        """Of a flow: what its two directions do to data, noise and grids."""
        if not isinstance(run.experiment.model, Bijective):
            return
        x = given.x[spread(len(given), SHOWN)].astype(np.float32)
        said = (
            f"Above f: points of {given.split}, what f makes of them, a grid around them under f. Below the inverse of"
            " f: standard normal noise, the samples that it becomes, a grid around it under the inverse. Colours go"
            " along."
        )
        yield "Data to noise and back", html.paragraph(said) + html.plot(both_ways(run, x))


def both_ways(run: Run, x: Float[np.ndarray, "N 2"]) -> Figure:
    """Points, their latents and the image of a grid; noise, samples and the image of a grid under the inverse."""
    model, variables = run.experiment.model, run.variables
    forward = jax.jit(lambda x: model.apply(variables, x, method="forward")[0])
    inverse = jax.jit(lambda z: model.apply(variables, z, method="inverse"))
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    figure = Figure(figsize=(9, 6), layout="constrained")
    names = (("x", "z = f(x)", "f(grid)"), ("z", "x = f⁻¹(z)", "f⁻¹(grid)"))
    rows = ((x, forward), (noise, inverse))
    for axes, titles, (points, through) in zip(figure.subplots(2, 3), names, rows, strict=True):
        _dots(axes[0], points, points)
        _dots(axes[1], np.asarray(through(points)), points)
        _lines(axes[2], through, points)
        axes[2].set(xlim=axes[1].get_xlim(), ylim=axes[1].get_ylim())
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title)
    return figure


def _scatter(x: Float[np.ndarray, "N 2"]) -> Figure:
    figure = Figure(figsize=(5, 5), layout="constrained")
    _dots(figure.subplots(), x, x)
    return figure


def _dots(axes: Axes, x: Float[np.ndarray, "N 2"], source: Float[np.ndarray, "N 2"]) -> None:
    """Points, coloured by the first coordinate of what they come from."""
    axes.scatter(*x.T, s=2, c=source[:, 0], cmap="viridis", linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")


def _lines(axes: Axes, through: Any, points: Float[np.ndarray, "N 2"]) -> None:
    """The image of a grid around points, lines of either direction in their own colours."""
    middle, half = points.mean(axis=0), AROUND * points.std(axis=0)
    ticks = [np.linspace(m - h, m + h, LINES) for m, h in zip(middle, half, strict=True)]
    fine = [np.linspace(m - h, m + h, 400) for m, h in zip(middle, half, strict=True)]
    for direction, colour in ((0, "tab:blue"), (1, "tab:orange")):
        one, other = np.meshgrid(ticks[direction], fine[1 - direction], indexing="ij")
        grid = np.stack([one, other] if direction == 0 else [other, one], axis=-1)
        image = np.asarray(through(grid.reshape(-1, 2).astype(np.float32))).reshape(grid.shape)
        for line in image:
            axes.plot(*line.T, color=colour, lw=0.5)
