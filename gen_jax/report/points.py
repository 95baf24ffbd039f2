"""The report's sections for points: modes found, and of a flow both directions on data, noise and grids."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gen_jax.conditions import zeros
from gen_jax.data.batches import spread
from gen_jax.data.prepared import Split
from gen_jax.density import Bijective
from gen_jax.evaluate import draw, modes
from gen_jax.media import html
from gen_jax.media.medium import Section
from gen_jax.media.points import SHOWN, Points, dots
from gen_jax.runs.run import Run

LINES, AROUND = (
    25,
    2.5,
)  # grid lines in each direction; the grid spans +- that many standard deviations


def sections(medium: Points, run: Run, split: Split) -> Iterator[Section]:
    """The modes that samples reach, where the data have known ones; both directions of a flow."""
    del medium
    if modes.has_modes(split.dataset):
        yield "Modes", _modes(run, split)
    if not isinstance(run.experiment.model, Bijective):
        return
    x = split.x[spread(len(split), SHOWN)].astype(np.float32)
    caption = (
        f"Above: {split.split} points x, their latents z = f(x), and a grid around the points after f. Below: standard"
        " normal noise z, the samples x = f⁻¹(z), and a grid around the noise after f⁻¹. Colours follow the points."
    )
    yield "Data to noise and back", html.paragraph(caption) + html.plot(both_ways(run, x))


def _modes(run: Run, split: Split) -> Markup:
    """The rule, and what it finds in samples and in the split."""
    real = split.x[spread(len(split), SHOWN)]
    fake = draw.sample(run, len(real))
    rule = (
        f"A point belongs to a mode within {modes.WITHIN:g} standard deviations of its mean. A mode is found if"
        f" at least {modes.LEAST:g} of its share of the points belongs to it."
    )
    rows = [
        [name, str(found.found), f"{100 * found.near:.1f} %", ", ".join(map(str, found.counts))]
        for name, found in (("samples", modes.modes_of(fake)), (split.split, modes.modes_of(real)))
    ]
    header = ["points", "modes found", "points in a mode", "points in each"]
    return html.paragraph(rule) + html.table(header, rows)


def both_ways(run: Run, x: Float[np.ndarray, "N 2"]) -> Figure:
    """Points, their latents and a grid after f; noise, samples and a grid after the inverse."""
    model, variables = run.experiment.model, run.variables
    under = lambda points: zeros(model, len(points))  # noqa: E731  the first class
    forward = jax.jit(lambda x: model.apply(variables, x, cond=under(x), method="forward")[0])
    inverse = jax.jit(lambda z: model.apply(variables, z, under(z), method="inverse"))
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    figure = Figure(figsize=(9, 6), layout="constrained")
    names = (("x", "z = f(x)", "f(grid)"), ("z", "x = f⁻¹(z)", "f⁻¹(grid)"))
    rows = ((x, forward), (noise, inverse))
    for axes, titles, (points, through) in zip(figure.subplots(2, 3), names, rows, strict=True):
        dots(axes[0], points, points)
        dots(axes[1], np.asarray(through(points)), points)
        _lines(axes[2], through, points)
        axes[2].set(xlim=axes[1].get_xlim(), ylim=axes[1].get_ylim())
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title)
    return figure


def _lines(axes: Axes, through: Any, points: Float[np.ndarray, "N 2"]) -> None:
    """The image of a grid around points, with a colour for each direction of its lines."""
    middle, half = points.mean(axis=0), AROUND * points.std(axis=0)
    ticks = [np.linspace(m - h, m + h, LINES) for m, h in zip(middle, half, strict=True)]
    fine = [np.linspace(m - h, m + h, 400) for m, h in zip(middle, half, strict=True)]
    for direction, colour in ((0, "tab:blue"), (1, "tab:orange")):
        across, along = np.meshgrid(ticks[direction], fine[1 - direction], indexing="ij")
        grid = np.stack([across, along] if direction == 0 else [along, across], axis=-1)
        image = np.asarray(through(grid.reshape(-1, 2).astype(np.float32))).reshape(grid.shape)
        for line in image:
            axes.plot(*line.T, color=colour, lw=0.5)
