"""The report's sections for points: modes found; a flow's density, both of its directions and its layers."""

from collections.abc import Iterator, Sequence
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
from gen_jax.runs.run import Trained

# Grid lines in each direction; the grid spans +- that many standard deviations.
LINES, AROUND = 25, 2.5
# Cells of the heat map on each side; the margin around the points, as a fraction of their range.
CELLS, MARGIN = 256, 0.15
PANELS, ACROSS = 12, 4  # states of points on their way, and panels in a row


def sections(medium: Points, run: Trained, split: Split) -> Iterator[Section]:
    """The modes that samples reach, where the data have known ones; density, both directions and layers of a flow."""
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
    yield "Density", density(run, x)
    alt = "Points, their latents and a grid after f; noise, samples and a grid after the inverse"
    yield "Data to noise and back", html.paragraph(caption) + html.plot(both_ways(run, x), alt)
    states, titles = way(run, len(x))
    if len(states) > 2:
        caption = (
            "The same points on their way from noise to samples, through the inverse of each layer in turn. Colours"
            " follow the noise."
        )
        alt = f"Clouds of points: {', '.join(titles)}"
        shown = html.paragraph(caption) + html.plot(panels(states, titles, states[0]), alt)
        yield "Noise to data, layer by layer", shown


def _modes(run: Trained, split: Split) -> Markup:
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


def density(run: Trained, x: Float[np.ndarray, "N 2"]) -> Markup:
    """A heat map of the density around points, and its mass there."""
    cells, edges = heat(run, x)
    area = np.prod([edge[1] - edge[0] for edge in edges])
    caption = f"The density p(x), whose mass in the picture is {cells.sum() * area:.4f}."
    return html.paragraph(caption) + html.plot(heat_map(cells, edges), "Heat map of the density")


def heat_map(
    cells: Float[np.ndarray, "cells cells"], edges: list[Float[np.ndarray, " cells+1"]]
) -> Figure:
    """A density in cells, the first coordinate to the right and the second upwards."""
    extent = (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])
    tall = (extent[3] - extent[2]) / (extent[1] - extent[0])
    figure = Figure(figsize=(7, 6 * min(max(tall, 0.4), 1.2)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(cells.T, origin="lower", extent=extent, cmap="magma", vmin=0)
    figure.colorbar(image, ax=axes, label="density")
    return figure


def heat(
    run: Trained, x: Float[np.ndarray, "N 2"]
) -> tuple[Float[np.ndarray, "cells cells"], list[Float[np.ndarray, " cells+1"]]]:
    """The density, under the first class, in the middles of cells around points, and the cells' edges on both axes."""
    model, low, high = run.experiment.model, x.min(axis=0), x.max(axis=0)
    edges = [
        np.linspace(a - MARGIN * (b - a), b + MARGIN * (b - a), CELLS + 1)
        for a, b in zip(low, high, strict=True)
    ]
    middles = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
    grid = np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(-1, 2)
    program = jax.jit(
        lambda x, cond: model.apply(run.variables, x, cond=cond, method="log_density")
    )
    logs = program(grid.astype(np.float32), zeros(model, len(grid)))
    return np.exp(np.asarray(logs, np.float64)).reshape(CELLS, CELLS), edges


def way(run: Trained, num: int) -> tuple[list[Float[np.ndarray, "N 2"]], list[str]]:
    """Noise, its images on the way to the samples, and the samples, under the first class; a title for each."""
    model = run.experiment.model
    noise = np.random.default_rng(0).normal(size=(num, 2)).astype(np.float32)
    program = jax.jit(lambda z, cond: model.apply(run.variables, z, cond, method="way"))
    states = [np.asarray(state) for state in program(noise, zeros(model, num))]
    last = len(states) - 1
    chosen = np.unique(np.round(np.linspace(0, last, min(last + 1, PANELS))).astype(int))
    titles = {0: "noise", last: "samples"}
    return [states[k] for k in chosen], [titles.get(k, f"after {k} of {last}") for k in chosen]


def panels(
    states: Sequence[Float[np.ndarray, "N 2"]],
    titles: Sequence[str],
    source: Float[np.ndarray, "N 2"],
) -> Figure:
    """A scatter plot for each state of the same points, coloured by where they are in `source`."""
    rows = -(-len(states) // ACROSS)
    figure = Figure(figsize=(9, 2.4 * rows), layout="constrained")
    for axes in figure.subplots(rows, ACROSS, squeeze=False).flat[len(states) :]:
        axes.set_axis_off()
    for axes, state, title in zip(figure.axes, states, titles, strict=False):
        dots(axes, state, source)
        axes.set_title(title)
    return figure


def both_ways(run: Trained, x: Float[np.ndarray, "N 2"]) -> Figure:
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


def clouds(clouds: Sequence[Float[np.ndarray, "N 2"]], titles: Sequence[str]) -> Figure:
    """Clouds of points beside each other, up to four in a row, all with the limits of the last."""
    columns = min(4, len(clouds))
    rows = -(-len(clouds) // columns)
    figure = Figure(figsize=(9, 9 / columns * rows), layout="constrained")
    every: list[Axes] = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    low, high = clouds[-1].min(axis=0), clouds[-1].max(axis=0)
    margin = 0.1 * (high - low).max()
    for axes, cloud, title in zip(every, clouds, titles, strict=False):
        dots(axes, cloud, cloud)
        axes.set_aspect("equal", adjustable="box")
        axes.set(
            xlim=(low[0] - margin, high[0] + margin),
            ylim=(low[1] - margin, high[1] + margin),
            title=title,
        )
    for axes in every[len(clouds) :]:
        axes.set_axis_off()
    return figure
