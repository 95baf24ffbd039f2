"""The report's sections for a GAN: real beside fake, outputs of D."""

import functools
from collections.abc import Iterator

import jax
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.density import fold_in, root_key
from gen_jax.evaluate import draw
from gen_jax.media import html
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium, Section
from gen_jax.media.points import SHOWN, Points
from gen_jax.report.points import clouds
from gen_jax.runs.followed import Adversarial
from gen_jax.runs.run import Run, Trained

BESIDE, JUDGED, BINS = 32, 512, 40  # images beside each other, examples, bars


def sections(medium: Medium, run: Run, split: Split) -> Iterator[Section]:
    """The sections that the medium can show; nothing for other models."""
    if not isinstance(run.experiment.model, Adversarial):
        return
    if isinstance(medium, Images | Points):
        yield "Real beside fake", beside(medium, run, split)
    yield "Outputs of the discriminator", outputs(run, split)


def beside(medium: Images | Points, run: Trained, split: Split) -> Markup:
    """Examples of the split and samples."""
    num = BESIDE if isinstance(medium, Images) else SHOWN
    real = split.x[spread(len(split), num)]
    fake = draw.sample(run, len(real))
    caption = f"{len(real)} {split.split} examples, and {len(fake)} samples, seed 0."
    if isinstance(medium, Images):
        sheets = medium.figure(real, alt="Real images") + medium.figure(fake, alt="Samples")
        return html.paragraph(caption) + sheets
    shown = clouds((real, fake), (split.split, "samples"))
    return html.paragraph(caption) + html.plot(shown, "Two clouds of points: real ones and samples")


def outputs(run: Trained, split: Split) -> Markup:
    """Histograms of D on examples of the split and on equally many samples."""
    model = run.experiment.model
    batch = take(split, spread(len(split), JUDGED), run.conditional)
    measure = jax.jit(functools.partial(model.apply, method="measure"))
    key = fold_in(root_key(0), "outputs")
    found = jax.device_get(measure(run.variables, batch["x"], key, batch["cond"]))
    real, fake = (np.asarray(found[name], np.float64) for name in ("real", "fake"))
    if not model.critic:
        real, fake = (1 / (1 + np.exp(-logit)) for logit in (real, fake))
    figure = Figure(figsize=html.SIZE, layout="constrained")
    axes = figure.subplots()
    both = np.concatenate([real, fake])
    ends = (both.min(), both.max()) if model.critic else (0.0, 1.0)
    edges = list(np.linspace(*ends, BINS + 1))
    for values, label in ((real, f"{split.split} examples"), (fake, "samples")):
        axes.hist(values, edges, alpha=0.6, label=label)
    axes.set(xlabel="D(x)", ylabel="examples")
    axes.legend()
    kind = "a critic with any real value" if model.critic else "the probability that x is real"
    caption = (
        f"D(x) is {kind}: mean {real.mean():.3f} on {len(real)} {split.split} examples, {fake.mean():.3f} on equally"
        " many samples."
    )
    alt = f"Histograms of D(x) on {split.split} examples and on samples"
    return html.paragraph(caption) + html.plot(figure, alt)
