"""The report's sections for a model of sound: sounds of the split, completions, bits per sample."""

from collections.abc import Iterator

import jax
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from gen_jax import sharding
from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.density import Autoregressive
from gen_jax.evaluate import draw
from gen_jax.media import html
from gen_jax.media.medium import Section
from gen_jax.media.sound import Sound
from gen_jax.runs.run import Run

SHOWN, MEASURED = 8, 64


def sections(medium: Sound, run: Run, split: Split) -> Iterator[Section]:
    """Sounds of the split; completions and bits per sample of an autoregressive model."""
    chosen = spread(len(split), SHOWN)
    x = split.x[chosen]
    yield "Data", html.paragraph(f"{len(x)} sounds of {split.split}.") + medium.figure(x)
    if isinstance(run.experiment.model, Autoregressive):
        keep = np.arange(x.shape[1]) < x.shape[1] // 4
        labels = split.labels[chosen] if run.conditional and split.labels is not None else None
        drawn = medium.figure(draw.complete(run, x, keep, labels=labels))
        caption = "The same sounds: the first quarter is kept, the rest is sampled."
        yield "Completions", html.paragraph(caption) + drawn
        yield "Bits per sample", _bits(medium, run, split)


def _bits(medium: Sound, run: Run, split: Split) -> Markup:
    model, chosen = run.experiment.model, spread(len(split), MEASURED)
    batch = sharding.put_rows(take(split, chosen, run.conditional), run.mesh)
    sites = jax.jit(lambda v, x, cond: model.apply(v, x, cond, method="log_prob_sites"))
    nats = -np.asarray(sites(run.variables, batch["x"], batch["cond"]))[: len(chosen)]
    figure = Figure(figsize=html.WIDE, layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(nats.shape[1]) / medium.rate, nats.mean(axis=0) / np.log(2), lw=0.6)
    axes.set(xlabel="seconds", ylabel="bits", ylim=(0, None))
    caption = f"-log2 p(x_t | x_<t), mean over {len(chosen)} sounds of {split.split}."
    return html.paragraph(caption) + html.plot(figure, "Curve: bits of each sample over time")
