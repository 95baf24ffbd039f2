"""The report's sections for a model with latents: paths between examples, units and their KL, the plane of two."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gen_jax.conditions import rows_of
from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.density import Chain, Latent
from gen_jax.evaluate import draw, latents
from gen_jax.media import html
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium, Section
from gen_jax.ops import gaussian
from gen_jax.runs.run import Trained

PAIRS, STEPS = 6, 10
MEASURED, SHOWN = 512, 2000  # examples whose KL is measured, and that are points of a plane
TRAVERSED, UNITS, VALUES = 2, 12, 11  # examples, their units of largest KL, and values of a unit
SIDE = 15  # images along each side of a plane
NUMBERED, NARROW = 40, 8  # bars with a number each, and places for bars at least
WITHIN = (0.5, 0.95)  # probabilities of the prior's circles in a plane


def sections(medium: Medium, run: Trained, split: Split) -> Iterator[Section]:
    """Interpolations, KL of each unit or group, traversals, a plane: each where the model has it."""
    model = run.experiment.model
    if isinstance(medium, Images) and latents.has_paths(model):
        yield "Interpolations", interpolations(medium, run, split)
    if not isinstance(model, Latent) or isinstance(model, Chain):  # a chain shows its terms
        return
    batch = take(split, spread(len(split), MEASURED), run.conditional)
    found = latents.information(run, batch["x"], cond=batch["cond"])
    measured = f"mean over {len(batch['x'])} {split.split} examples"
    if len(found.units):
        yield "KL of each unit", _unit_bars(found, measured)
    else:
        yield "KL of each group", _group_bars(found, [g.shape for g in model.groups], measured)
    units = latents.vector_units(model)
    if isinstance(medium, Images) and units:
        yield "Traversal of the active units", traversals(medium, run, split, found)
    if units == 2:
        yield "Plane of the two units", plane(medium, run, split)


def interpolations(medium: Images, run: Trained, split: Split) -> Markup:
    """A row for each pair: an example, the path to another, and that one."""
    batch = take(split, spread(len(split), 2 * PAIRS), run.conditional)
    ends = [
        (batch["x"][i : i + PAIRS], rows_of(batch["cond"], slice(i, i + PAIRS)))
        for i in (0, len(batch["x"]) - PAIRS)
    ]
    (x, cond), (y, cond_y) = ends
    drawn = latents.interpolate(run, x, y, STEPS, cond=cond, cond_y=cond_y)
    rows = np.concatenate([x[:, None], drawn, y[:, None]], axis=1)
    kind = run.experiment.model.interpolation
    way = "great circles" if kind == "spherical" else "straight lines"
    caption = (
        f"The first and the last of each row are {split.split} images. Between them is a path through the latents on"
        f" {way}, whose ends are the reconstructions."
    )
    if run.conditional:
        caption += " The first half has the class of the first image, the second that of the last."
    return html.paragraph(caption) + medium.figure(
        _flat(rows), columns=STEPS + 2, alt="Paths between images"
    )


def traversals(medium: Images, run: Trained, split: Split, found: latents.Information) -> Markup:
    """For some examples a row for each active unit: the reconstruction, then the unit at quantiles of its prior."""
    batch = take(split, spread(len(split), TRAVERSED), run.conditional)
    x, cond = batch["x"], batch["cond"]
    order = np.argsort(-found.units, kind="stable")
    units = [int(unit) for unit in order if found.active[unit]][:UNITS]
    count = f"{int(found.active.sum())} of {len(found.units)} units are active"
    if not units:
        return html.paragraph(f"None: {count}.")
    values = np.asarray(gaussian.quantiles(VALUES))
    drawn = latents.traverse(run, x, units, values, cond=cond)
    again = draw.reconstruct(run, x, cond=cond)
    shown = html.paragraph(
        f"{count}. Each row moves one of them: the first image of a row is the reconstruction, in the others the unit"
        f" has the {VALUES} middle values of equally probable intervals of the prior, from {values[0]:.2f} to"
        f" {values[-1]:.2f}. Rows from the largest KL: units {', '.join(map(str, units))}."
    )
    for example, reconstruction in zip(drawn, again, strict=True):
        first = np.broadcast_to(reconstruction, (len(units), 1, *reconstruction.shape))
        rows = np.concatenate([first, example], axis=1)
        alt = "Reconstruction and images with one unit changed"
        shown += medium.figure(_flat(rows), columns=VALUES + 1, alt=alt)
    return shown


def plane(medium: Medium, run: Trained, split: Split) -> Markup:
    """Where q(z | x) puts the examples of each class, and the images of a grid of quantiles."""
    chosen = spread(len(split), SHOWN)
    batch, labels = take(split, chosen, run.conditional), rows_of(split.labels, chosen)
    means = latents.latents_of(run, batch["x"], batch["cond"])
    coloured = ", coloured by class" if isinstance(labels, np.ndarray) else ""
    caption = (
        f"The mean of q(z | x) of {len(means)} {split.split} examples{coloured}; the circles hold"
        f" {WITHIN[0]:.0%} and {WITHIN[1]:.0%} of the prior."
    )
    alt = f"Scatter plot of the latents of {len(means)} examples"
    shown = html.paragraph(caption) + html.plot(_scatter(means, labels, split.class_names), alt)
    if not isinstance(medium, Images):
        return shown
    values = np.asarray(gaussian.quantiles(SIDE))
    cond, under = rows_of(batch["cond"], slice(0, 1)), ""
    if cond is not None:
        under = f", all under the class {_names(cond, split.class_names)[0]}"
    grid = latents.plane(run, values, cond=cond)[::-1]
    caption = (
        f"The same plane as images: each unit has the {SIDE} middle values of equally probable intervals of the prior,"
        f" from {values[0]:.2f} to {values[-1]:.2f}, unit 0 to the right and unit 1 upwards{under}."
    )
    return (
        shown
        + html.paragraph(caption)
        + medium.figure(_flat(grid), columns=SIDE, alt="Images of the plane")
    )


def _scatter(means: Float[np.ndarray, "N 2"], labels: Any, class_names: tuple[str, ...]) -> Figure:
    figure = Figure(figsize=html.TALL, layout="constrained")
    axes = figure.subplots()
    if isinstance(labels, np.ndarray):
        for label in np.unique(labels):
            of_class = means[labels == label]
            [name] = _names(np.array([label]), class_names)
            colour = f"C{label % 10}"
            axes.scatter(*of_class.T, s=6, color=colour, linewidths=0, label=html.literal(name))
        axes.legend(markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        axes.scatter(*means.T, s=6, linewidths=0)
    angle = np.linspace(0, 2 * np.pi, 200)
    for share in WITHIN:
        radius = np.sqrt(-2 * np.log(1 - share))  # P(|z| < r) = 1 - exp(-r^2 / 2)
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="grey", lw=0.8, ls="--")
    axes.set(xlabel="unit 0", ylabel="unit 1")
    axes.set_aspect("equal", adjustable="datalim")
    return figure


def _names(labels: Any, class_names: tuple[str, ...]) -> list[str]:
    return [class_names[k] if class_names else str(k) for k in labels]


def _unit_bars(found: latents.Information, measured: str) -> Markup:
    """A bar for each unit, from the largest KL."""
    order = np.argsort(-found.units, kind="stable")
    active = found.active[order]
    figure = Figure(figsize=html.SIZE, layout="constrained")
    axes = figure.subplots()
    _bars(axes, found.units[order], active)
    axes.set(xlabel="units, from the largest KL", ylabel="nats")
    if len(order) <= NUMBERED:
        axes.set_xticks(np.arange(len(order)), map(str, order))
    caption = (
        f"KL(q(z_u | x) || p(z_u)) of each unit u, {measured}; the sum is {found.kl[0]:.3f} nats."
        f" {int(active.sum())} of {len(active)} units are active: the location of q varies over the examples."
    )
    return html.paragraph(caption) + html.plot(
        figure, "Bars: the KL of each unit, from the largest"
    )


def _group_bars(found: latents.Information, shapes: list[tuple[int, ...]], measured: str) -> Markup:
    """A bar for each group in the order of generation, with the places of its latents."""
    figure = Figure(figsize=html.SIZE, layout="constrained")
    axes, start = figure.subplots(), 0
    _bars(axes, found.kl, np.ones(len(found.kl), bool))
    for places, run in groupby(shapes, key=lambda shape: shape[:-1]):
        count = len(list(run))
        if start:
            axes.axvline(start - 0.5, color="grey", lw=0.6)
        name = "x".join(map(str, places)) or "vector"
        axes.text(
            start + (count - 1) / 2, 1.02, name, ha="center", transform=axes.get_xaxis_transform()
        )
        start += count
    if len(found.kl) <= NUMBERED:
        axes.set_xticks(np.arange(len(found.kl)), map(str, range(1, len(found.kl) + 1)))
    axes.set(xlabel="groups in the order of generation; above, the places of their latents")
    axes.set(ylabel="nats")
    caption = (
        f"KL(q(z_k | z_<k, x) || p(z_k | z_<k)) of each group k, {measured}, at one draw of z; the sum is"
        f" {found.kl.sum():.3f} nats."
    )
    return html.paragraph(caption) + html.plot(
        figure, "Bars: the KL of each group, in the order of generation"
    )


def _bars(axes: Axes, nats: Float[np.ndarray, " N"], filled: Bool[np.ndarray, " N"]) -> None:
    colours = np.where(filled, "tab:blue", "lightgrey")
    axes.bar(np.arange(len(nats)), nats, color=list(colours))
    axes.set_xlim(-0.6, max(len(nats), NARROW) - 0.4)


def _flat(rows: np.ndarray) -> np.ndarray:
    """Rows of examples one after the other."""
    return rows.reshape(-1, *rows.shape[2:])
