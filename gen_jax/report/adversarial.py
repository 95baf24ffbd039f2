"""The report's sections for a GAN: real beside fake, samples of one noise over training, outputs of D."""

import functools
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.density import fold_in, root_key
from gen_jax.evaluate import draw
from gen_jax.media import html
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium, Section
from gen_jax.media.points import SHOWN, Points, dots
from gen_jax.runs import followed
from gen_jax.runs.followed import Adversarial
from gen_jax.runs.run import Run, Trained

BESIDE, STEPS, JUDGED, BINS = 32, 8, 512, 40  # images beside each other, steps, examples, bars


def sections(medium: Medium, run: Run, split: Split) -> Iterator[Section]:
    """The sections that the medium can show; nothing for other models."""
    if not isinstance(run.experiment.model, Adversarial):
        return
    if isinstance(medium, Images | Points):
        yield "Real beside fake", beside(medium, run, split)
        if len(followed.steps(run.workdir)) > 1:
            yield "The same noise over training", over_training(medium, run)
    yield "Outputs of the discriminator", outputs(run, split)


def beside(medium: Images | Points, run: Trained, split: Split) -> Markup:
    """Examples of the split and samples."""
    num = BESIDE if isinstance(medium, Images) else SHOWN
    real = split.x[spread(len(split), num)]
    fake = draw.sample(run, len(real))
    caption = f"{len(real)} {split.split} examples, and {len(fake)} samples, seed 0."
    if isinstance(medium, Images):
        return html.paragraph(caption) + medium.figure(real) + medium.figure(fake)
    titles = (split.split, "samples")
    return html.paragraph(caption) + html.plot(_clouds((real, fake), titles))


def over_training(medium: Images | Points, run: Run) -> Markup:
    """A row of images, or a cloud of points, for each of some steps; the noise is the same in all."""
    every = followed.steps(run.workdir)
    steps = [every[i] for i in spread(len(every), STEPS)]
    kept = [followed.read(run.workdir, run.experiment.model.event, step) for step in steps]
    caption = "Samples of the same noise under the averaged weights"
    if isinstance(medium, Images):
        listed = ", ".join(f"{step:,}" for step in steps)
        rows = f"{caption}, a row for each of the steps {listed}."
        return html.paragraph(rows) + medium.figure(np.concatenate(kept), len(kept[0]))
    titles = tuple(f"step {step:,}" for step in steps)
    return html.paragraph(f"{caption} at some steps.") + html.plot(_clouds(kept, titles))


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
    figure = Figure(figsize=(7, 2.6), layout="constrained")
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
    return html.paragraph(caption) + html.plot(figure)


def _clouds(clouds: Sequence[Float[np.ndarray, "N 2"]], titles: Sequence[str]) -> Figure:
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
