"""What a report shows of a model of sound: sounds of the split, completions, bits of each sample."""

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

GIVEN, MEASURED = 8, 64


def sections(medium: Sound, run: Run, given: Split) -> Iterator[Section]:
    """Sounds of the split; the completions and the bits of each sample of an autoregressive model."""
    chosen = spread(len(given), GIVEN)
    x = given.x[chosen]
    yield "Given sounds", html.paragraph(f"{len(x)} of {given.split}.") + medium.figure(x)
    if isinstance(run.experiment.model, Autoregressive):
        keep = np.arange(x.shape[1]) < x.shape[1] // 4
        labels = given.labels[chosen] if run.conditional and given.labels is not None else None
        drawn = medium.figure(draw.complete(run, x, keep, labels=labels))
        yield (
            "Completions",
            html.paragraph("The same up to a quarter, from there on drawn.") + drawn,
        )
        yield "Bits of each sample", _bits(medium, run, given)


def _bits(medium: Sound, run: Run, given: Split) -> Markup:
    model, chosen = run.experiment.model, spread(len(given), MEASURED)
    batch = sharding.put_rows(take(given, chosen, run.conditional), run.mesh)
    sites = jax.jit(lambda v, x, cond: model.apply(v, x, cond, method="log_prob_sites"))
    nats = -np.asarray(sites(run.variables, batch["x"], batch["cond"]))[: len(chosen)]
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(nats.shape[1]) / medium.rate, nats.mean(axis=0) / np.log(2), lw=0.6)
    axes.set(xlabel="seconds", ylabel="bits", ylim=(0, None))
    said = f"-log2 p(x_t | x_<t), mean over {len(chosen)} sounds of {given.split}"
    return html.paragraph(f"{said}.") + html.plot(figure)
