"""What a report shows of a model of images: completions, bits of each pixel, receptive field, size as a file."""

from collections.abc import Iterator

import jax
import numpy as np
from markupsafe import Markup
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from gen_jax import sharding
from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.density import Autoregressive, bits_per_dim
from gen_jax.evaluate import draw, file_size, receptive_field
from gen_jax.media import html, pictures
from gen_jax.media.images import Images
from gen_jax.media.medium import Section
from gen_jax.runs.run import Run

COMPLETIONS, HEAT_MAPS, COMPRESSED, AVERAGED = 12, 12, 64, 4


def sections(medium: Images, run: Run, given: Split) -> Iterator[Section]:
    """Completions, bits of each pixel, receptive field of an autoregressive model; the file size where it codes."""
    model = run.experiment.model
    by_pixels = isinstance(run.experiment.model, Autoregressive)
    if by_pixels:
        yield "Completions", _completions(medium, run, given)
        yield "Bits of each pixel", _heat_maps(medium, run, given)
    if model.codec != "none":
        yield "As a file", _file(run, given)
    if by_pixels:
        yield "Receptive field", _receptive_field(run, given)


def _completions(medium: Images, run: Run, given: Split) -> Markup:
    chosen = spread(len(given), COMPLETIONS)
    keep, shown = draw.kept_region("top:0.5", medium.event.shape), given.x[chosen]
    labels = given.labels[chosen] if run.conditional and given.labels is not None else None
    drawn = [draw.complete(run, shown, keep, seed, labels) for seed in (0, 1)]
    rows = np.concatenate([shown, np.where(keep, shown, 0), *drawn])
    said = "first row the image, second the kept upper half, below it two completions"
    return html.paragraph(f"Images of {given.split}: {said}.") + medium.figure(rows, len(shown))


def _heat_maps(medium: Images, run: Run, given: Split) -> Markup:
    model, chosen = run.experiment.model, spread(len(given), HEAT_MAPS)
    x = given.x[chosen]
    batch = sharding.put_rows(take(given, chosen, run.conditional), run.mesh)
    sites = jax.jit(lambda v, x, cond: model.apply(v, x, cond, method="log_prob_sites"))
    nats = -sites(run.variables, batch["x"], batch["cond"])[: len(x)]
    bits = np.asarray(nats) / np.log(2)
    planes = np.zeros((len(x), medium.event.size))
    planes[:, model.sites[:, 0]] = bits
    planes = planes.reshape(len(x), *medium.event.shape).sum(axis=-1)
    figure = Figure(figsize=(9, 2.1), layout="constrained")
    axes = figure.subplots(2, len(x), squeeze=False)
    shown = pictures.to_bytes(x, medium.levels, medium.palette)
    heat = ScalarMappable(Normalize(0, planes.max()), "magma")
    for i in range(len(x)):
        axes[0, i].imshow(shown[i].squeeze(), cmap="gray", vmin=0, vmax=255)
        axes[1, i].imshow(planes[i], cmap=heat.cmap, norm=heat.norm)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.colorbar(heat, ax=axes[1], label="bits", aspect=8)
    mean = float(np.mean(bits_per_dim(nats.sum(axis=-1), medium.event)))
    said = f"-log2 p(x_i | x_<i) on {given.split} images; these {len(x)} cost {mean:.3f} bits/dim."
    return html.paragraph(said) + html.plot(figure)


def _file(run: Run, given: Split) -> Markup:
    found = file_size.measure(run, given, COMPRESSED)
    weights = f"weights of {found['weights_bytes']:,} bytes not included"
    return html.paragraph(
        f"On {given.split} images, compressed and given back bit for bit: {file_size.sentence(found, given.unit)};"
        f" {weights}. PNG and the others have them tiled into one image."
    )


def _receptive_field(run: Run, given: Split) -> Markup:
    height, width, _ = run.experiment.model.event.shape
    batch = take(given, spread(len(given), AVERAGED), run.conditional)
    places = ((height // 4, width // 2), (height // 2, width // 2), (3 * height // 4, width // 4))
    fields = [
        receptive_field.field(
            run.experiment.model, run.variables, place, batch["x"], batch["cond"], f"pixel {place}"
        )
        for place in places
    ]
    said = (
        "What p(x_i | x_<i) of the red pixel depends on, by gradient or by changed pixels; grey: not at all;"
        " outlined: what the model declares."
    )
    return html.paragraph(said) + html.plot(receptive_field.picture(fields))
