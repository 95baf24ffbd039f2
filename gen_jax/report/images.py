"""The report's sections for a model of images: completions, bits per pixel, receptive field, size as a file."""

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
from gen_jax.density import AnyOrder, Autoregressive, bits_per_dim
from gen_jax.evaluate import draw, file_size, receptive_field, regions
from gen_jax.evaluate.nearest import nearest
from gen_jax.media import html, pictures
from gen_jax.media.images import Images
from gen_jax.media.medium import Section
from gen_jax.ops.orders import ObservedFirst, Order, Raster
from gen_jax.runs.likelihood import Result
from gen_jax.runs.run import Run, Trained

COMPLETIONS, HEAT_MAPS, COMPRESSED, AVERAGED, PREDICTED = 12, 12, 64, 4, 64
# Samples whose nearest training images are shown, and training images among which these are searched.
NEAREST, SEARCHED = 8, 50_000
REGIONS = ("top:0.5", "left:0.5", "centre:0.5", "random:0.3")


def sections(medium: Images, run: Run, split: Split) -> Iterator[Section]:
    """Completions, bits per pixel and receptive field of an autoregressive model; file size if it has a codec."""
    model = run.experiment.model
    by_pixels = isinstance(run.experiment.model, Autoregressive)
    if by_pixels:
        yield from completions(medium, run, split)
        yield "Bits per pixel", _heat_maps(medium, run, split)
    if model.codec != "none":
        yield "As a file", _file(run, split)
    if by_pixels:
        yield "Receptive field", _receptive_field(run, split)


def nearest_in_training(
    medium: Images, samples: np.ndarray, train: Split, split: Split
) -> Iterator[Section]:
    """Some samples above the training images nearest to them, beside what is nearest to images of another split."""
    shown = samples[:NEAREST]
    among, others = train.x[:SEARCHED], split.x[spread(len(split), NEAREST)]
    in_bytes = [medium.values(x) for x in (shown, others, among)]
    place, apart = nearest(in_bytes[0], in_bytes[2])
    _, apart_others = nearest(in_bytes[1], in_bytes[2])
    searched = f"of {len(among):,} training images" + " searched" * (len(among) < len(train))
    listed = ", ".join(f"{distance:.1f}" for distance in apart)
    copies = int((apart == 0).sum())
    caption = (
        f"Samples, and below each the nearest {searched}. Root mean square differences of the values 0 to 255:"
        f" {listed}; mean {apart.mean():.1f}, and {apart_others.mean():.1f} for {len(others)} {split.split} images."
        f" {copies} of {len(shown)} samples {'is a copy' if copies == 1 else 'are copies'}."
    )
    rows = np.concatenate([shown, among[place]])
    yield (
        "Nearest training images",
        html.paragraph(caption)
        + medium.figure(rows, len(shown), alt="Samples above their nearest training images"),
    )


def completions(medium: Images, run: Trained, split: Split) -> Iterator[Section]:
    """For each region that the model can keep: images, the kept part, two completions, and the hidden part's bits."""
    keeps = {region: regions.read_mask(region, medium.event.shape) for region in REGIONS}
    if not isinstance(run.experiment.model, AnyOrder):
        keeps = {region: keep for region, keep in keeps.items() if regions.follows(run, keep)}
    if not keeps:
        return
    chosen = spread(len(split), COMPLETIONS)
    shown = split.x[chosen]
    labels = split.labels[chosen] if run.conditional and split.labels is not None else None
    twice = None if labels is None else np.tile(labels, 2)
    parts = [
        html.paragraph(
            f"{split.split.capitalize()} images, their kept parts, and two completions of each."
        )
    ]
    for region, keep in keeps.items():
        drawn = draw.complete(run, np.tile(shown, (2, 1, 1, 1)), keep, labels=twice)
        rows = np.concatenate([shown, shown, drawn])
        hidden = np.zeros(rows.shape[:3], bool)
        hidden[len(shown) : 2 * len(shown)] = ~keep.any(axis=-1)
        alt = f"Images, their part {region}, and two completions of each"
        parts += [
            html.paragraph(f"Kept: {region}."),
            medium.figure(rows, len(shown), hidden, alt),
        ]
    yield "Completions", Markup("").join([*parts, _hidden_bits(run, split, keeps)])


def _hidden_bits(run: Trained, split: Split, keeps: dict[str, regions.Mask]) -> Markup:
    """A row for each region: the bits of its hidden values given the kept part, and without a suitable order."""
    own = regions.hidden_part(run, split, [*keeps.values()], PREDICTED)
    any_order, rows = isinstance(run.experiment.model, AnyOrder), []
    for (region, keep), in_own in zip(keeps.items(), own, strict=True):
        first, _ = regions.seen_first(run, keep)
        given = in_own if first is run else regions.conditional(run, split, keep, PREDICTED)
        row = [region, str(in_own.event.size), _bits(given)]
        if any_order:
            raster = run.ordered(Raster())
            in_raster = "-"
            if regions.follows(raster, keep):
                in_raster = _bits(regions.conditional(raster, split, keep, PREDICTED))
            row += [_bits(in_own), in_raster, _name(first.experiment.model.order)]
        rows.append(row)
    header = ["kept", "hidden values", "bits/dim given the kept part"]
    images = f"{own[0].num_examples} {split.split} images"
    caption = (
        f"-log2 p(hidden part | kept part) per hidden value, mean over {images} ± standard error."
    )
    if any_order:
        header += [
            "in the model's own order",
            "in raster order",
            "order that sees the kept part first",
        ]
        caption += (
            f" The model's own order, {_name(run.experiment.model.order)}, predicts a hidden value without the kept"
            " ones that come after it. Raster order is shown where it begins with the kept part."
        )
    return html.paragraph(caption) + html.table(header, rows)


def _bits(result: Result) -> str:
    return f"{result.bits_per_dim:.3f} ± {result.stderr:.3f}"


def _name(order: Order) -> str:
    """An order in words; a mask is long, and stands in the row already."""
    return f"kept part, then {order.base}" if isinstance(order, ObservedFirst) else str(order)


def _heat_maps(medium: Images, run: Run, split: Split) -> Markup:
    model, chosen = run.experiment.model, spread(len(split), HEAT_MAPS)
    x = split.x[chosen]
    batch = sharding.put_rows(take(split, chosen, run.conditional), run.mesh)
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
    caption = (
        f"-log2 p(x_i | x_<i) on {len(x)} {split.split} images; their mean is {mean:.3f} bits/dim."
    )
    return html.paragraph(caption) + html.plot(
        figure, "Images above maps of the bits of each pixel"
    )


def _file(run: Run, split: Split) -> Markup:
    file = file_size.measure(run, split, COMPRESSED)
    return html.paragraph(
        f"{split.split.capitalize()} images, compressed and restored bit for bit:"
        f" {file_size.sentence(file, split.unit)}. The weights, {file['weights_bytes']:,} bytes, are not included. The"
        " other formats store all images as one picture."
    )


def _receptive_field(run: Run, split: Split) -> Markup:
    height, width, _ = run.experiment.model.event.shape
    batch = take(split, spread(len(split), AVERAGED), run.conditional)
    places = ((height // 4, width // 2), (height // 2, width // 2), (3 * height // 4, width // 4))
    fields = [
        receptive_field.field(
            run.experiment.model, run.variables, place, batch["x"], batch["cond"], f"pixel {place}"
        )
        for place in places
    ]
    caption = (
        "How strongly p(x_i | x_<i) of the red pixel depends on each other pixel; grey pixels have no influence; the"
        " outline shows the pixels that the model declares."
    )
    return html.paragraph(caption) + html.beside(
        *(html.plot(receptive_field.picture([field]), _in_words(field)) for field in fields)
    )


def _in_words(field: receptive_field.Field) -> str:
    """A receptive field for those who cannot see it."""
    counts = field.counts()
    share = f"{counts['depends_on']} of {counts['earlier']} earlier pixels"
    return f"Receptive field of {field.name}: {share} have influence"
