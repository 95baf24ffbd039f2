"""One HTML file that opens offline: number, training curves, samples, sections of the medium, config."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from gen_jax import config_tree, fingerprint, stored
from gen_jax.config_python import to_python
from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.diagnosed import Curved
from gen_jax.encoding import Reconstructing
from gen_jax.errors import InputError
from gen_jax.evaluate import draw, probe
from gen_jax.experiment import read
from gen_jax.laws import certificate
from gen_jax.media import medium_of
from gen_jax.media.html import SIZE, paragraph, plot
from gen_jax.media.images import COLUMNS, Images
from gen_jax.media.medium import Medium, Section
from gen_jax.media.points import Points
from gen_jax.media.sound import Sound
from gen_jax.report import (
    adversarial,
    codes,
    diffusion,
    film,
    images,
    latents,
    points,
    sound,
    training,
)
from gen_jax.report.pages import PAGES
from gen_jax.runs import provenance
from gen_jax.runs.results import protocol
from gen_jax.runs.run import Run, load_run
from gen_jax.runs.splits import judged_split, load_split
from gen_jax.runs.summary import distances, summary

RECONSTRUCTIONS, CURVED = 16, 32
SECTIONS: dict[type[Medium], Callable[[Any, Run, Split], Iterator[Section]]] = {
    Images: images.sections,
    Points: points.sections,
    Sound: sound.sections,
}


def html(workdirs: list[Path], data_dir: Path | None = None, trust: bool = False) -> str:
    """The page for one or several work directories; InputError if one has nothing to show."""
    runs = [_run(load_run(path, trust), data_dir, trust) for path in workdirs]
    title = ", ".join(run["title"] for run in runs)
    film_of = any(film.MARK in shown for run in runs for _, shown in run["sections"])
    scripts = {"script": Markup(film.SCRIPT), "digest": film.DIGEST} if film_of else {}
    return PAGES.get_template("report.html").render(runs=anchored(runs), title=title, **scripts)


def anchored(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs with anchors, `#training` for a section, or `#2-training` for one of the second run."""
    for number, run in enumerate(runs, start=1):
        prefix, used = f"{number}-" * (len(runs) > 1), set()
        run["anchor"], sections = f"run-{number}", []
        for name, shown in run["sections"]:
            anchor = prefix + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "section")
            while anchor in used:
                anchor += "-"
            used.add(anchor)
            sections.append((name, anchor, shown))
        run["sections"] = sections
    return runs


def _run(run: Run, data_dir: Path | None, trust: bool) -> dict[str, Any]:
    """The values of the template for one work directory."""
    medium = medium_of(run.experiment.model.event, run.presentation)
    split = judged_split(run.experiment, data_dir)
    samples, drawn = _samples(run, medium)
    sections = [*training.sections(medium, run), ("Samples", samples)]
    if isinstance(medium, Images) and drawn is not None:
        train = load_split(run.experiment, "train", data_dir)
        sections += images.nearest_in_training(medium, drawn, train, split)
    sections += film.sections(medium, run, drawn)
    sections += adversarial.sections(medium, run, split)
    sections += [*_of_medium(medium, run, split), *diffusion.sections(medium, run, split)]
    if run.workdir.probe.exists():
        sections.append(("Linear probe", _probe(run)))
    if isinstance(run.experiment.model, Reconstructing):
        sections.append(("Reconstructions", _reconstructions(run, medium, split)))
    sections += [*latents.sections(medium, run, split), *codes.sections(medium, run, split)]
    if isinstance(run.experiment.model, Curved):
        sections += _model_curves(run, split)
    instead = f"Examples are from {split.split}, because {split.dataset} has no test split here."
    return {
        "title": f"{run.experiment.system} on {run.experiment.data.name}",
        **{"protocol": None, "facts": None, "certificate": None, "laws": None},
        **_number(run, trust),
        "instead": instead if split.split != "test" else None,
        "sections": [*sections, ("Run and config", _origin(run))],
    }


def _of_medium(medium: Medium, run: Run, split: Split) -> Iterator[Section]:
    """The sections of the medium, with examples of the split."""
    sections = SECTIONS.get(type(medium))
    return iter(()) if sections is None else sections(medium, run, split)


def _number(run: Run, trust: bool) -> dict[str, Any]:
    """The number, its protocol, remarks on it, and the certificate."""
    if not run.workdir.result.exists():
        return {"number": _unevaluated(run), "sentences": _finding(run.finding())}
    result = stored.record(run.workdir.result)
    try:
        return _measured(run, result, trust)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{run.workdir.result} is damaged: a field is missing or has a wrong type ({error!r:.80});"
            f" `gen-jax evaluate {run.workdir.path}` writes it again"
        ) from error


def _measured(run: Run, result: dict[str, Any], trust: bool) -> dict[str, Any]:
    return {
        "number": summary(result),
        "protocol": result["protocol"],
        "facts": f"{result['parameters']:,} parameters, {result['seconds']:.0f} s of training on {result['cpu']}",
        "sentences": _older(run, result)
        + _finding(run.finding(result["bits_per_dim"]))
        + _distances(result),
        **_certificate(run, result, trust),
    }


def _older(run: Run, result: dict[str, Any]) -> list[str | Markup]:
    """A sentence if the number is of another checkpoint than the rest of the page."""
    if f"of step {run.step}," in result["protocol"]:
        return []
    words = Markup(
        "The number is of another checkpoint, the rest of this page of step {}: <code>{}</code>"
    )
    return [words.format(run.step, f"gen-jax evaluate {run.workdir.path}") + " measures it again"]


def _unevaluated(run: Run) -> Markup:
    """The command that would write the number, or a sentence if the model has none."""
    command = f"gen-jax evaluate {run.workdir.path}"
    if run.experiment.model.kind != "none":
        return Markup("Not evaluated yet: <code>{}</code> writes the number.").format(command)
    words = Markup("{} has no likelihood, so there is no number").format(run.experiment.system)
    if run.comparable:
        command += " --distances CLASSIFIER"
        words += Markup(" yet: <code>{}</code> compares its samples with the data").format(command)
    return words + "."


def _finding(sentence: str | None) -> list[str | Markup]:
    return [f"Finding: {sentence}"] if sentence else []


def _distances(result: dict[str, Any]) -> list[str | Markup]:
    """The distances as a sentence if the number is bits/dim; otherwise they are the number already."""
    if result["bits_per_dim"] is None or not result.get("distances"):
        return []
    return [distances(result)]


def _certificate(run: Run, result: dict[str, Any], trust: bool) -> dict[str, Any]:
    """Whether weights and number are certified; the table of laws if the certificate is for these weights."""
    standing = certificate.standing(run.workdir, run.variables)
    words = standing.sentence
    if not standing.fits and run.experiment.model.kind != "none":
        words = Markup(
            "{}: <code>{}</code> checks the laws of probability on these weights"
        ).format(words, f"gen-jax certify {run.workdir.path}")
    if standing.state == "certified" and not (
        result["certified"]
        and result["protocol"]
        == protocol(read(result["config"], trust), run.step, result.get("nats_per", "example"))
    ):
        words = f"{certificate.CERTIFIED}, but the number is older: evaluate again"
    table = certificate.table(standing.record) if standing.record else None
    return {"certificate": words[:1].upper() + words[1:], "laws": table}


def _samples(run: Run, medium: Medium) -> tuple[Markup, np.ndarray | None]:
    """The samples at each temperature of the medium, and those at the last one; None where the model has none."""
    length, num = draw.usual_length(run, medium.length), medium.num_in_report
    classes, shown, x = run.experiment.model.num_classes, Markup(), None
    for temperature in medium.temperatures:
        try:
            x = draw.sample(run, num, temperature=temperature, length=length)
        except InputError as error:
            return paragraph(f"None: {error}."), None
        settings = f"seed 0, temperature {temperature:g}"
        if isinstance(medium, Images) and 1 < classes <= COLUMNS:
            x = x[: num - num % classes]  # sampled with all classes in turn
            shown += paragraph(f"{len(x)} samples, a column for each class, {settings}.")
            shown += medium.figure(x, classes)
            continue
        shown += paragraph(f"{num} sample{'s' * (num > 1)}, {settings}.") + medium.figure(x)
    return shown, x


def _reconstructions(run: Run, medium: Medium, split: Split) -> Markup:
    batch = take(split, spread(len(split), RECONSTRUCTIONS), run.conditional)
    x = batch["x"]
    reconstructed = draw.reconstruct(run, x, cond=batch["cond"])
    caption = f"Examples of {split.split} above, their reconstructions below."
    return paragraph(caption) + medium.figure(x) + medium.figure(reconstructed)


def _probe(run: Run) -> Markup:
    """The accuracy of each block with its standard error, the best one, and that of the values themselves."""
    record = stored.record(run.workdir.probe)
    if record.get("weights") != fingerprint.of_variables(run.variables):
        return paragraph("The probe belongs to other weights; gen-jax probe measures these.")
    try:
        numbers, accuracies, errors = (
            [row[name] for row in record["blocks"]] for name in ("block", "accuracy", "stderr")
        )
        best = max(record["blocks"], key=lambda row: row["accuracy"])
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.errorbar(numbers, accuracies, errors, marker="o", ms=3, capsize=2, label="block")
        level, width = (record["values"][name] for name in ("accuracy", "stderr"))
        axes.axhline(level, color="grey", ls="--", label="values")
        axes.axhspan(level - width, level + width, color="grey", alpha=0.2, lw=0)
        axes.set(xlabel="block", ylabel="accuracy", xticks=numbers)
        axes.legend()
        caption = (
            f"Accuracy of a linear map from each block's features to the class: {record['dataset']} {record['split']},"
            f" {record['num_examples']} examples, with standard errors. The best is block {best['block']} with"
            f" {probe.percent(best)}; the values themselves give {probe.percent(record['values'])}."
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run.workdir.probe} is damaged: a field is missing or of another kind ({error!r:.80});"
            f" `gen-jax probe {run.workdir.path}` writes it again"
        ) from error
    return paragraph(caption) + plot(figure, f"Accuracy of each block: the best is {best['block']}")


def _origin(run: Run) -> Markup:
    """Where the run comes from, and its config as Python and as stored."""
    identity = config_tree.identity(run.experiment)
    tree = json.dumps(run.workdir.read()["experiment"], indent=1)
    values = {"rows": _rows(run), "python": to_python(identity), "tree": tree}
    return Markup(PAGES.get_template("origin.html").render(values))


def _rows(run: Run) -> dict[str, Any]:
    """Command, checkpoint, source and versions: those of the evaluation, or of the training if they are known."""
    config = run.workdir.read()
    rows = {
        "command": config.get("command", "none: made from Python"),
        "checkpoint": f"step {run.step} of {run.experiment.steps}",
    }
    if run.workdir.result.exists():
        record = stored.record(run.workdir.result)
    elif config.get("machine", {}).get("source") == provenance.digest():
        record = {**provenance.revision(), "versions": provenance.versions()}
    else:
        unknown = "unknown: the run was started with other packages or another gen_jax"
        return {**rows, "source": unknown}
    versions = record.get("versions")
    if isinstance(versions, dict):
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        return {**rows, "source": _source(record), "versions": listed}
    return {**rows, "source": _source(record)}


def _source(revision: dict[str, Any]) -> str:
    """The revision recorded in a result, or the present one."""
    if revision.get("git") is None:
        return "not a git checkout"
    return f"{revision['git']}{' with changes' if revision.get('dirty') else ''}"


def _model_curves(run: Run, split: Split) -> list[tuple[str, Markup]]:
    """Each curve of the model on a logarithmic axis, with its title and its sum."""
    batch, sections = take(split, spread(len(split), CURVED), run.conditional), []
    x = batch["x"]
    for title, values in draw.curves(run, x, cond=batch["cond"]).items():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.plot(values, lw=1, marker="o", ms=2)
        axes.set(xlabel="t", ylabel=title.rpartition(", ")[2], yscale="log")
        caption = f"Mean over {len(x)} {split.split} examples; the {len(values)} terms add up to {values.sum():.4f}."
        alt = f"Curve of {title}, from {values[0]:.3g} to {values[-1]:.3g}"
        sections.append((title, paragraph(caption) + plot(figure, alt)))
    return sections
