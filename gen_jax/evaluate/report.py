"""One HTML file that opens offline: number, curves, samples, what else their medium shows, reconstructions, config."""

import html as markup
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gen_jax.data.batches import spread
from gen_jax.data.prepared import Split
from gen_jax.density import Curved
from gen_jax.errors import InputError
from gen_jax.evaluate import certificate, draw, source
from gen_jax.evaluate.catalogue import distances, summary
from gen_jax.evaluate.results import protocol
from gen_jax.evaluate.run import Run, load_run
from gen_jax.experiment import read
from gen_jax.media import medium_of
from gen_jax.media.html import plot
from gen_jax.media.medium import Medium
from gen_jax.train.loop import judged_split

RECONSTRUCTIONS, CURVED = 16, 32

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } .number { font-size: 1.25rem }
img { width: 100%; image-rendering: pixelated } img.smooth { image-rendering: auto }
pre, code { background: #f4f4f4; overflow-x: auto } pre { padding: .75rem }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem .75rem .15rem 0; vertical-align: top }
"""


def html(workdirs: list[Path], data_dir: Path | None = None, trust: bool = False) -> str:
    """The page for one or several work directories; InputError where one holds nothing to show."""
    sections = "".join(_section(load_run(path, trust), data_dir, trust) for path in workdirs)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>gen_jax report</title><style>{STYLE}</style></head><body>{sections}</body></html>\n"
    )


def _section(run: Run, data_dir: Path | None, trust: bool) -> str:
    medium, given = medium_of(run), judged_split(run.experiment, data_dir)
    sections = [
        ("Training", _curves(run)),
        ("Samples", _samples(run, medium)),
        *medium.sections(run, given),
    ]
    if hasattr(run.experiment.model, "reconstruct"):
        sections.append(("Reconstructions", _reconstructions(run, medium, given)))
    if isinstance(run.experiment.model, Curved):
        sections += _model_curves(run, given)
    sections.append(("Run", _run(run)))
    lines = [f"<h1>{run.experiment.system} on {run.experiment.data.name}</h1>", _number(run, trust)]
    if given.split != "test":
        lines.append(
            f"<p>Examples are of {given.split}, because {given.dataset} has no test split here.</p>"
        )
    return "".join([*lines, *(f"<h2>{name}</h2>{shown}" for name, shown in sections)])


def _number(run: Run, trust: bool) -> str:
    if not run.workdir.result.exists():
        return f"<p class='number'>{_unevaluated(run)}</p>{_finding(run.finding())}"
    result = json.loads(run.workdir.result.read_text())
    facts = f"{result['parameters']:,} parameters, {result['seconds']:.0f} s of training on {result['cpu']}"
    return (
        f"<p class='number'>{markup.escape(summary(result))}</p><p>{markup.escape(result['protocol'])}.<br>"
        f"{markup.escape(facts)}.</p>{_finding(run.finding(result['bits_per_dim']))}{_distances(result)}"
        f"{_certificate(run, result, trust)}"
    )


def _unevaluated(run: Run) -> str:
    """Which command would write the number, and that there is none where none would."""
    command = f"gen-jax evaluate {run.workdir.path}"
    if run.experiment.model.kind != "none":
        return f"Not evaluated yet: <code>{markup.escape(command)}</code> writes the number."
    words = f"{run.experiment.system} has no likelihood, so there is no number"
    if run.comparable:
        command += " --distances CLASSIFIER"
        words += f" yet: <code>{markup.escape(command)}</code> compares its samples with the data"
    return f"{words}."


def _finding(sentence: str | None) -> str:
    return f"<p>Finding: {markup.escape(sentence)}.</p>" if sentence else ""


def _distances(result: dict[str, Any]) -> str:
    """A paragraph beside a bits/dim; without one the distances are the number already."""
    if result["bits_per_dim"] is None or not result.get("distances"):
        return ""
    return f"<p>{markup.escape(distances(result))}.</p>"


def _certificate(run: Run, result: dict[str, Any], trust: bool) -> str:
    """Whether the weights are certified, and the number too; the table of laws where the certificate is theirs."""
    found = certificate.standing(run.workdir, run.variables)
    words = found.sentence
    if found.state == "certified" and not (
        result["certified"]
        and result["protocol"] == protocol(read(result["config"], trust), run.step)
    ):
        words = "the weights are certified, the number was written before: evaluate them again"
    table = f"<pre>{markup.escape(certificate.table(found.record))}</pre>" if found.record else ""
    return f"<p>{markup.escape(words[0].upper() + words[1:])}.</p>{table}"


def _curves(run: Run) -> str:
    rows = run.workdir.metrics_rows()
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    known = [name for name in ("bits_per_dim", "nats") if any(name in row for row in rows)]
    number = next(iter(known), None)
    names = [number] if number else _losses(rows)
    for split, style in (
        ("train", {"lw": 0.8, "alpha": 0.7}),
        ("validation", {"marker": "o", "ms": 3}),
    ):
        for name in names:
            points = [
                (row["step"], row[name]) for row in rows if row["split"] == split and name in row
            ]
            label = split if number else f"{name.replace('_', ' ')}, {split}"
            if points:
                left.plot(*zip(*points, strict=True), label=label, **style)
    if left.lines:
        left.legend()
    if number:
        _fit_to_the_end(left, [row[number] for row in rows if row.get(number) is not None])
    left.set(xlabel="step", ylabel=run.unit if number else "loss")
    for name in ("grad_norm", "update_norm"):
        points = [(row["step"], row[name]) for row in rows if row.get(name)]
        if points:
            right.plot(*zip(*points, strict=True), label=name, lw=0.8)
            right.set_yscale("log")
            right.legend()
    right.set(xlabel="step", ylabel="norm")
    return plot(figure)


def _losses(rows: list[dict[str, Any]]) -> list[str]:
    """The terms of the loss where it has several with that name, else itself."""
    names = {name for row in rows for name in row if name.endswith("loss")}
    return sorted(names - {"loss"}) or ["loss"]


def _fit_to_the_end(axes: Any, values: list[float]) -> None:
    """Cut off the first steep steps, so that the end of the curve can be read."""
    if values:
        low, high = min(values), float(np.quantile(values, 0.95))
        axes.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.1 * (high - low) + 1e-3)


def _samples(run: Run, medium: Medium) -> str:
    length, num = draw.usual_length(run, medium.length), medium.num_in_report
    shown = ""
    for temperature in medium.temperatures:
        try:
            x = draw.sample(run, num, temperature=temperature, length=length)
        except InputError as error:
            return f"<p>None: {markup.escape(str(error))}.</p>"
        said = f"{num} draw{'s' * (num > 1)}, seed 0, temperature {temperature:g}"
        shown += f"<p>{said}.</p>{medium.figure(x)}"
    return shown


def _reconstructions(run: Run, medium: Medium, given: Split) -> str:
    x = given.x[spread(len(given), RECONSTRUCTIONS)]
    again = draw.reconstruct(run, x)
    return (
        f"<p>Examples of {given.split} above, their reconstructions below.</p>"
        f"{medium.figure(x)}{medium.figure(again)}"
    )


def _run(run: Run) -> str:
    config = run.workdir.read()
    named = " ".join(f"{name} {version}" for name, version in source.versions().items())
    result = json.loads(run.workdir.result.read_text()) if run.workdir.result.exists() else {}
    rows = {
        "command": config.get("command", "none: made from Python"),
        "checkpoint": f"step {run.step} of {run.experiment.steps}",
        "source": _source(result or source.revision())
        if result or config.get("machine", {}).get("source") == source.digest()
        else "not that of this page: other packages or another gen_jax began the run",
        "versions": named,
    }
    table = "".join(
        f"<tr><th>{name}</th><td><code>{markup.escape(value)}</code></td></tr>"
        for name, value in rows.items()
    )
    tree = markup.escape(json.dumps(config["experiment"], indent=1))
    return f"<table>{table}</table><details><summary>config</summary><pre>{tree}</pre></details>"


def _source(revision: dict[str, Any]) -> str:
    """The revision that a result notes, or that runs now."""
    if revision["git"] is None:
        return "no git checkout"
    return f"{revision['git']}{' with changes' if revision['dirty'] else ''}"


def _model_curves(run: Run, given: Split) -> list[tuple[str, str]]:
    """Each curve of the model under its title, on a logarithmic axis, and its sum."""
    x, sections = given.x[spread(len(given), CURVED)], []
    for title, values in draw.curves(run, x).items():
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(values, lw=1, marker="o", ms=2)
        axes.set(xlabel="t", ylabel=title.rpartition(", ")[2], yscale="log")
        said = f"Mean over {len(x)} {given.split} examples; the {len(values)} terms add up to {values.sum():.4f}."
        sections.append((markup.escape(title), f"<p>{said}</p>{plot(figure)}"))
    return sections
