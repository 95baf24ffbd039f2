"""One HTML file that opens offline: number, curves, samples, completions, bits, file size, receptive field, config."""

import base64
import html as markup
import io
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.density import bits_per_dim
from gen_jax.errors import InputError
from gen_jax.evaluate import certificate, draw, file_size, pictures, receptive_field, source
from gen_jax.evaluate.catalogue import summary
from gen_jax.evaluate.results import protocol
from gen_jax.evaluate.run import Run, load_run
from gen_jax.experiment import read
from gen_jax.train import sharding
from gen_jax.train.loop import judged_split

SAMPLES, COMPLETIONS, HEAT_MAPS, COMPRESSED, AVERAGED, RECONSTRUCTIONS = 64, 12, 12, 64, 4, 16

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } .number { font-size: 1.25rem }
img { width: 100%; image-rendering: pixelated } img.smooth { image-rendering: auto }
pre, code { background: #f4f4f4; overflow-x: auto } pre { padding: .75rem }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem .75rem .15rem 0; vertical-align: top }
"""


def html(workdirs: list[Path], data_dir: Path | None = None) -> str:
    """The page for one or several work directories; InputError where one holds nothing to show."""
    sections = "".join(_section(load_run(path), data_dir) for path in workdirs)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>gen_jax report</title><style>{STYLE}</style></head><body>{sections}</body></html>\n"
    )


def _section(run: Run, data_dir: Path | None) -> str:
    event, model = run.experiment.model.event, run.experiment.model
    parts = [f"<h1>{run.experiment.system} on {run.experiment.data.name}</h1>", _number(run)]
    parts += ["<h2>Training</h2>", _curves(run)]
    if len(event.shape) == 3 and event.levels is not None:
        given, images = _given(run, data_dir)
        parts += ["<h2>Samples</h2>", _samples(run)]
        if hasattr(model, "sites"):
            rows = "first row the image, second the kept upper half, below it two completions"
            parts += [
                "<h2>Completions</h2>",
                f"<p>{images}: {rows}.</p>",
                _completions(run, given),
            ]
            parts += ["<h2>Bits of each pixel</h2>", _heat_maps(run, given)]
            parts += ["<h2>As a file</h2>", _file(run, given)] if model.codec == "direct" else []
            parts += ["<h2>Receptive field</h2>", _receptive_field(run, given)]
        if hasattr(model, "reconstruct"):
            what = f"{images} above, their reconstructions below"
            parts += ["<h2>Reconstructions</h2>", f"<p>{what}.</p>", _reconstructions(run, given)]
    parts += ["<h2>Run</h2>", _run(run)]
    return "".join(parts)


def _given(run: Run, data_dir: Path | None) -> tuple[Split, str]:
    """The split whose images are shown, and what to call them: test, else validation."""
    split = judged_split(run.experiment, data_dir)
    if split.split == "test":
        return split, "Test images"
    return split, f"Validation images, because {split.dataset} has no test split here"


def _number(run: Run) -> str:
    if not run.workdir.result.exists():
        return "<p class='number'>Not evaluated yet: <code>gen-jax evaluate</code> writes the number.</p>"
    result = json.loads(run.workdir.result.read_text())
    facts = f"{result['parameters']:,} parameters, {result['seconds']:.0f} s of training on {result['cpu']}"
    return (
        f"<p class='number'>{markup.escape(summary(result))}</p><p>{markup.escape(result['protocol'])}.<br>"
        f"{markup.escape(facts)}.</p>{_certificate(run, result)}"
    )


def _certificate(run: Run, result: dict[str, Any]) -> str:
    """Whether the weights are certified, and the number too; the table of laws where the certificate is theirs."""
    found = certificate.standing(run.workdir, run.variables)
    words = found.sentence
    if found.state == "certified" and not (
        result["certified"] and result["protocol"] == protocol(read(result["config"]), run.step)
    ):
        words = "the weights are certified, the number was written before: evaluate them again"
    table = f"<pre>{markup.escape(certificate.table(found.record))}</pre>" if found.record else ""
    return f"<p>{markup.escape(words[0].upper() + words[1:])}.</p>{table}"


def _curves(run: Run) -> str:
    rows = run.workdir.metrics_rows()
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for split, style in (
        ("train", {"lw": 0.8, "alpha": 0.7}),
        ("validation", {"marker": "o", "ms": 3}),
    ):
        points = [
            (row["step"], row["bits_per_dim"])
            for row in rows
            if row["split"] == split and "bits_per_dim" in row
        ]
        if points:
            left.plot(*zip(*points, strict=True), label=split, **style)
    if left.lines:
        left.legend()
    _fit_to_the_end(left, rows)
    left.set(xlabel="step", ylabel="bits/dim")
    for name in ("grad_norm", "update_norm"):
        points = [(row["step"], row[name]) for row in rows if row.get(name)]
        if points:
            right.plot(*zip(*points, strict=True), label=name, lw=0.8)
            right.set_yscale("log")
            right.legend()
    right.set(xlabel="step", ylabel="norm")
    return _figure(figure)


def _fit_to_the_end(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Cut off the first steep steps, so that the end of the curve can be read."""
    values = [row["bits_per_dim"] for row in rows if row.get("bits_per_dim") is not None]
    if values:
        low, high = min(values), float(np.quantile(values, 0.95))
        axes.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.1 * (high - low) + 1e-3)


def _samples(run: Run) -> str:
    try:
        x = draw.sample(run, SAMPLES)
    except InputError as error:
        return f"<p>None: {markup.escape(str(error))}.</p>"
    sheet = _sheet(x, run.experiment.model.event.levels, columns=16)
    return f"<p>{SAMPLES} draws, seed 0, temperature 1.</p>{sheet}"


def _reconstructions(run: Run, given: Split) -> str:
    x = given.x[spread(len(given), RECONSTRUCTIONS)]
    again = draw.reconstruct(run, x)
    return _sheet(np.concatenate([x, again]), run.experiment.model.event.levels, columns=len(x))


def _completions(run: Run, given: Split) -> str:
    event, chosen = run.experiment.model.event, spread(len(given), COMPLETIONS)
    keep, shown = draw.kept_region("top:0.5", event.shape), given.x[chosen]
    labels = given.labels[chosen] if run.conditional and given.labels is not None else None
    drawn = [draw.complete(run, shown, keep, seed, labels) for seed in (0, 1)]
    rows = np.concatenate([shown, np.where(keep, shown, 0), *drawn])
    return _sheet(rows, event.levels, columns=len(shown))


def _heat_maps(run: Run, given: Split) -> str:
    model, event = run.experiment.model, run.experiment.model.event
    chosen = spread(len(given), HEAT_MAPS)
    x = given.x[chosen]
    batch = sharding.put_rows(take(given, chosen, run.conditional), run.mesh)
    sites = jax.jit(lambda v, x, cond: model.apply(v, x, cond, method="log_prob_sites"))
    nats = -sites(run.variables, batch["x"], batch["cond"])[: len(x)]
    bits = np.asarray(nats) / np.log(2)
    planes = np.zeros((len(x), event.size))
    planes[:, model.sites[:, 0]] = bits
    planes = planes.reshape(len(x), *event.shape).sum(axis=-1)
    figure = Figure(figsize=(9, 2.1), layout="constrained")
    axes = figure.subplots(2, len(x))
    shown = pictures.to_grey(x, event.levels)
    heat = ScalarMappable(Normalize(0, planes.max()), "magma")
    for i in range(len(x)):
        axes[0, i].imshow(shown[i].squeeze(), cmap="gray", vmin=0, vmax=255)
        axes[1, i].imshow(planes[i], cmap=heat.cmap, norm=heat.norm)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.colorbar(heat, ax=axes[1], label="bits", aspect=8)
    mean = float(np.mean(bits_per_dim(nats.sum(axis=-1), event)))
    return (
        f"<p>-log2 p(x_i | x_&lt;i) on {given.split} images; these {len(x)} cost {mean:.3f} bits/dim.</p>"
        + _figure(figure)
    )


def _file(run: Run, given: Split) -> str:
    found = file_size.measure(run, given, COMPRESSED)
    weights = f"weights of {found['weights_bytes']:,} bytes not included"
    return (
        f"<p>On {given.split} images, compressed and given back bit for bit: {file_size.sentence(found)};"
        f" {weights}. PNG and the others have them tiled into one image.</p>"
    )


def _receptive_field(run: Run, given: Split) -> str:
    height, width, _ = run.experiment.model.event.shape
    batch = take(given, spread(len(given), AVERAGED), run.conditional)
    places = ((height // 4, width // 2), (height // 2, width // 2), (3 * height // 4, width // 4))
    fields = [
        receptive_field.field(
            run.experiment.model, run.variables, place, batch["x"], batch["cond"], f"pixel {place}"
        )
        for place in places
    ]
    return (
        "<p>What p(x_i | x_&lt;i) of the red pixel depends on, by gradient or by changed pixels; grey: not at all;"
        f" outlined: what the model declares.</p>{_figure(receptive_field.picture(fields))}"
    )


def _run(run: Run) -> str:
    config = run.workdir.read()
    named = " ".join(f"{name} {version}" for name, version in source.versions().items())
    result = json.loads(run.workdir.result.read_text()) if run.workdir.result.exists() else {}
    rows = {
        "command": config.get("command", "none: made from Python"),
        "checkpoint": f"step {run.step} of {run.experiment.steps}",
        "source": f"{result['git']}{' with changes' if result['dirty'] else ''}"
        if result.get("git")
        else "no git checkout",
        "versions": named,
    }
    table = "".join(
        f"<tr><th>{name}</th><td><code>{markup.escape(value)}</code></td></tr>"
        for name, value in rows.items()
    )
    tree = markup.escape(json.dumps(config["experiment"], indent=1))
    return f"<table>{table}</table><details><summary>config</summary><pre>{tree}</pre></details>"


def _sheet(x: np.ndarray, levels: int, columns: int) -> str:
    buffer = io.BytesIO()
    pictures.enlarge(pictures.grid(pictures.to_grey(x, levels), columns)).save(buffer, format="PNG")
    return _img(buffer.getvalue(), "")


def _figure(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return _img(buffer.getvalue(), "smooth")


def _img(png: bytes, css: str) -> str:
    data = base64.b64encode(png).decode()
    return f"<p><img class='{css}' alt='' src='data:image/png;base64,{data}'></p>"
