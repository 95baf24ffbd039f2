"""Runs beside each other: a table of numbers, the differences of their configs, curves on one pair of axes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from gen_jax import config_tree
from gen_jax.classes import PACKAGE, Trust
from gen_jax.config_python import expression
from gen_jax.data.prepared import unit_of
from gen_jax.errors import InputError
from gen_jax.media import html as pieces
from gen_jax.report import training
from gen_jax.report.pages import PAGES
from gen_jax.runs import listing, trained
from gen_jax.runs.workdir import WorkDir
from gen_jax.terminal import aligned

ABSENT = "-"


@dataclass(frozen=True)
class Compared:
    """Some runs: their rows of `gen-jax runs`, units and logs.

    `differences`: the fields of the configs that are not equal in all runs, by path, with a value for each run.
    """

    rows: list[dict[str, Any]]
    units: list[str]
    logs: list[training.Rows]
    differences: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        """The names of the runs."""
        return [row["run"] for row in self.rows]

    @property
    def remarks(self) -> list[str]:
        """Why the numbers do not compare, if they do not."""
        data = sorted({str(row["data"]) for row in self.rows})
        different = []
        if len(data) > 1:
            different.append(f"The runs are trained on different data: {', '.join(data)}.")
        if len({*self.units}) > 1:
            different.append(
                f"The numbers have different units: {', '.join(sorted({*self.units}))}."
            )
        return different

    def record(self) -> dict[str, Any]:
        """All but the logs, as one JSON object."""
        differences = {
            path: dict(zip(self.names, values, strict=True))
            for path, values in self.differences.items()
        }
        return {"runs": self.rows, "differences": differences, "remarks": self.remarks}

    def text(self) -> str:
        """The tables as plain text."""
        same = "The configs are equal."
        fields = [["field", *self.names], *([path, *row] for path, row in self.differences.items())]
        tables = [listing.text(self.rows), aligned(fields) if self.differences else same]
        return "\n\n".join([*tables, *self.remarks])


def compare(paths: list[Path], trust: Trust = False) -> Compared:
    """Read some work directories; InputError unless they are two at least and all different."""
    folders = [trained.folder(path) for path in paths]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise InputError("a comparison needs at least two different work directories")
    names = [folder.resolve().name for folder in folders]
    if len({*names}) < len(names):
        names = [str(folder) for folder in folders]
    workdirs = [WorkDir(folder) for folder in folders]
    experiments = [workdir.experiment(trust) for workdir in workdirs]
    models = [experiment.model for experiment in experiments]
    shown = [workdir.read().get("presentation", {}) for workdir in workdirs]
    return Compared(
        [listing.row(folder, name) for folder, name in zip(folders, names, strict=True)],
        [
            "loss" if model.kind == "none" else unit_of(model.event, presentation)
            for model, presentation in zip(models, shown, strict=True)
        ],
        [workdir.metrics_rows() for workdir in workdirs],
        differences(experiments),
    )


def differences(experiments: list[Any]) -> dict[str, list[str]]:
    """The fields that differ, as Python, by path; those of different classes only where they are not defaults."""
    whole = [dict(_leaves(config_tree.to_tree(experiment))) for experiment in experiments]
    stated = [dict(_leaves(config_tree.identity(experiment))) for experiment in experiments]
    paths = sorted({path for leaves in stated for path in leaves})
    rows = {path: [leaves.get(path, ABSENT) for leaves in whole] for path in paths}
    return {path: values for path, values in rows.items() if len({*values}) > 1}


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each field with its value as Python; an event is one value, a class its name and its fields."""
    if not isinstance(tree, dict) or tree["type"] == f"{PACKAGE}:Event":
        yield path, expression(tree)
        return
    if path:
        yield path, tree["type"].rpartition(":")[2]
    for name, value in tree["fields"].items():
        yield from _leaves(value, f"{path}.{name}".lstrip("."))


def html(compared: Compared) -> str:
    """The page with the tables and the curves."""
    header = ["field", *compared.names]
    fields = [[path, *values] for path, values in compared.differences.items()]
    sections = [
        ("Numbers", pieces.table(listing.HEADER, [listing.cells(row) for row in compared.rows])),
        ("Curves", Markup("").join(_curves(compared))),
        (
            "Differences of the configs",
            pieces.table(header, fields) if fields else pieces.paragraph("None."),
        ),
    ]
    shown = [(name, name.split()[0].lower(), section) for name, section in sections]
    return PAGES.get_template("comparison.html").render(
        title=", ".join(compared.names), sections=shown, remarks=compared.remarks
    )


def _curves(compared: Compared) -> Iterator[Markup]:
    """For each unit a plot of validation (with dots) and training of its runs, a colour for each run."""
    for unit in dict.fromkeys(compared.units):
        figure = Figure(figsize=pieces.TALL, layout="constrained")
        axes, rows = figure.subplots(), []
        triples = zip(compared.names, compared.units, compared.logs, strict=True)
        for k, (name, its_unit, log) in enumerate(triples):
            number = training.number_of(log) or "loss"
            if its_unit != unit:
                continue
            rows += [{"number": row[number]} for row in log if number in row]
            for split, style in training.STYLES.items():
                label = f"{name}, {split}"
                training.line(axes, log, split, number, label, color=f"C{k}", **style)
        if not axes.lines:
            yield pieces.paragraph(f"No run in {unit} has a log.")
            continue
        training.fit_to_the_end(axes, rows, "number")
        axes.set(xlabel="step", ylabel=pieces.literal(unit))
        yield training.finished(figure)
