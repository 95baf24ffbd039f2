"""The report's sections about training: curves of the log, and samples of one noise over the steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gen_jax.data.batches import spread
from gen_jax.media import html
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium, Section
from gen_jax.media.points import Points
from gen_jax.report.points import clouds
from gen_jax.runs import followed
from gen_jax.runs.run import Run

STEPS, ROW = 8, 32  # steps whose samples are shown, and images of each
NUMBERS = ("bits_per_dim", "nats")
NORMS = ("grad_norm", "update_norm")
Rows = Sequence[Mapping[str, Any]]
STYLES = {"train": {"lw": 0.8, "alpha": 0.7}, "validation": {"marker": "o", "ms": 3}}


def sections(medium: Medium, run: Run) -> Iterator[Section]:
    """Curves; samples over the steps, of a run that drew them."""
    yield "Training", curves(run.workdir.metrics_rows(), run.unit)
    if len(followed.steps(run.workdir)) > 1:
        yield "Samples over training", over_training(medium, run)


def curves(rows: Rows, unit: str) -> Markup:
    """The number, or the losses of a model without one, and the norms of gradients and updates, over the steps."""
    left = Figure(figsize=html.SIZE, layout="constrained")
    axes, number = left.subplots(), number_of(rows)
    for split, style in STYLES.items():
        for name in [number] if number else _losses(rows):
            label = split if number else f"{name.replace('_', ' ')}, {split}"
            line(axes, rows, split, name, label, **style)
    axes.set(xlabel="step", ylabel=html.literal(unit) if number else "loss")
    fit_to_the_end(axes, rows, number)
    right = Figure(figsize=html.SIZE, layout="constrained")
    norms = right.subplots()
    for name in NORMS:
        positive = [row for row in rows if row.get(name)]
        line(norms, positive, "train", name, name.replace("_", " "), lw=0.8)
    norms.set(xlabel="step", ylabel="norm")
    if norms.lines:
        norms.set_yscale("log")
    return html.beside(*(finished(figure) for figure in (left, right) if figure.axes[0].lines))


def number_of(rows: Rows) -> str | None:
    """The logged number that is drawn: bits/dim, or else nats; None if the log has neither."""
    return next((name for name in NUMBERS if any(name in row for row in rows)), None)


def line(axes: Axes, rows: Rows, split: str, name: str, label: str, **style: Any) -> None:
    """The curve of a logged number, if the log has it."""
    points = [(row["step"], row[name]) for row in rows if row["split"] == split and name in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=html.literal(label), **style)


def fit_to_the_end(axes: Axes, rows: Rows, number: str | None) -> None:
    """Cut off the steep first steps, so that the end of the curve is readable."""
    values = [row[number] for row in rows if number and number in row]
    if values:
        low, high = min(values), float(np.quantile(values, 0.95))
        axes.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.1 * (high - low) + 1e-3)


def finished(figure: Figure) -> Markup:
    """The figure with a legend, as a plot; in words the ends of each curve."""
    [axes] = figure.axes
    axes.legend()
    ends = [
        f"{curve.get_label()} from {y[0]:.4g} to {y[-1]:.4g}"
        for curve in axes.lines
        for y in [np.asarray(curve.get_ydata())]
    ]
    return html.plot(figure, f"Curves of {axes.get_ylabel()} by step: {'; '.join(ends)}")


def over_training(medium: Medium, run: Run) -> Markup:
    """Samples of each of some steps; the noise is the same in all."""
    every = followed.steps(run.workdir)
    steps = [every[i] for i in spread(len(every), STEPS)]
    drawn = [followed.read(run.workdir, run.experiment.model.event, step) for step in steps]
    caption = "Samples of the same noise under the averaged weights"
    if isinstance(medium, Images):
        listed, drawn = ", ".join(f"{step:,}" for step in steps), [x[:ROW] for x in drawn]
        rows = html.paragraph(f"{caption}, a row for each of the steps {listed}.")
        alt = "Samples, a row for each step"
        return rows + medium.figure(np.concatenate(drawn), len(drawn[0]), alt=alt)
    titles = tuple(f"step {step:,}" for step in steps)
    shown = html.paragraph(f"{caption} at some steps.")
    if isinstance(medium, Points):
        return shown + html.plot(clouds(drawn, titles), f"Clouds of samples: {', '.join(titles)}")
    for title, x in zip(titles, drawn, strict=True):
        shown += html.paragraph(f"{title.capitalize()}:") + medium.figure(x[:1])
    return shown


def _losses(rows: Rows) -> list[str]:
    """The names of the loss terms if they are logged, otherwise `loss`."""
    names = {name for row in rows for name in row if name.endswith("loss")}
    return sorted(names - {"loss"}) or ["loss"]
