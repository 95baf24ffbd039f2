"""The report's sections for a model with codebooks: maps of the codes of some examples, and how often each is used."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from gen_jax.data.batches import spread
from gen_jax.data.prepared import Split
from gen_jax.encoding import Coded
from gen_jax.evaluate import codes
from gen_jax.media import html, pictures
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium, Section
from gen_jax.runs.run import Trained

# Examples whose codes are shown, of images and of others, and examples whose codes are counted.
IMAGES, LINES, COUNTED = 12, 4, 1024


def sections(medium: Medium, run: Trained, split: Split) -> Iterator[Section]:
    """Code maps, and the use of each codebook; nothing for a model without codebooks."""
    model = run.experiment.model
    if isinstance(model, Coded):
        yield "Codes", maps(medium, run, split)
        yield "Use of the codes", use(run, split)


def maps(medium: Medium, run: Trained, split: Split) -> Markup:
    """Examples above, if they are images, and below the codes of each codebook, a map for each group."""
    chosen = spread(len(split), IMAGES if isinstance(medium, Images) else LINES)
    x = split.x[chosen]
    found, books = codes.codes_of(run, x), run.experiment.model.codebooks
    planes = [
        (f"{name}, group {g + 1}" if count > 1 else name, grouped[..., g], books[name].num_levels)
        for name, grouped in ((name, _grouped(part)) for name, part in found.items())
        for g, count in ((g, grouped.shape[-1]) for g in range(grouped.shape[-1]))
    ]
    caption = (
        f"Codes of {len(x)} {split.split} examples. Equal codes of a codebook have equal colours; colours of different"
        " codes say nothing about their vectors."
    )
    picture = _under_images if isinstance(medium, Images) else _lines
    shown = pictures.to_bytes(x, medium.levels, medium.palette) if isinstance(medium, Images) else x
    alt = f"Maps of the codes of {len(x)} examples"
    return html.paragraph(caption) + html.plot(picture(shown, planes), alt)


# Of each map its name, the codes (N, *places), and the number of codes in its codebook.
Planes = list[tuple[str, Int[np.ndarray, "..."], int]]


def _grouped(part: Int[np.ndarray, "N ..."]) -> Int[np.ndarray, "N *places G"]:
    """Codes with a last axis of groups, which a line of codes may not have."""
    return part[..., None] if part.ndim == 2 else part


def _under_images(shown: np.ndarray, planes: Planes) -> Figure:
    """A column for each image."""
    figure = Figure(figsize=(9, 0.85 * (1 + len(planes))), layout="constrained")
    axes = figure.subplots(1 + len(planes), len(shown), squeeze=False)
    for column, image in enumerate(shown):
        axes[0, column].imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes[0, column].set(xticks=[], yticks=[])
        for row, (_, part, num_codes) in enumerate(planes):
            _map(axes[1 + row, column], part[column], num_codes)
    for row, name in enumerate(["x", *(name for name, *_ in planes)]):
        axes[row, 0].set_ylabel(html.literal(name), rotation=0, ha="right", va="center")
    return figure


def _lines(shown: np.ndarray, planes: Planes) -> Figure:
    """A row for each example and codebook: codes along a line."""
    figure = Figure(figsize=(9, 0.45 * len(shown) * len(planes)), layout="constrained")
    axes = figure.subplots(len(shown) * len(planes), 1, squeeze=False)[:, 0]
    for example in range(len(shown)):
        for row, (name, part, num_codes) in enumerate(planes):
            axis = axes[example * len(planes) + row]
            line = part[example].reshape(1, -1) if part.ndim == 2 else part[example]
            _map(axis, line, num_codes)
            axis.set_aspect("auto")
            axis.set_ylabel(html.literal(name), rotation=0, ha="right", va="center")
    return figure


def _map(axes: Axes, part: Int[np.ndarray, "h w"], num_codes: int) -> None:
    axes.imshow(colours(num_codes)[part])
    axes.set(xticks=[], yticks=[])


def colours(count: int) -> Float[np.ndarray, "count 3"]:
    """Colours of which neighbours differ: hues by the golden ratio, three degrees of brightness in turn."""
    codes = np.arange(count)
    hue, value = codes * (np.sqrt(5) - 1) / 2 % 1, np.array([1.0, 0.75, 0.5])[codes % 3]
    return hsv_to_rgb(np.stack([hue, np.full(count, 0.8), value], axis=-1))


def use(run: Trained, split: Split) -> Markup:
    """For each codebook the share of each code, from the most used one, beside even use."""
    x = split.x[spread(len(split), COUNTED)]
    found, books, shown = codes.codes_of(run, x), run.experiment.model.codebooks, Markup()
    for name, part in found.items():
        counted = codes.counts(part, books[name].num_levels)
        number, in_use = len(counted), int(np.sum(counted > 0))
        figure = Figure(figsize=html.SIZE, layout="constrained")
        axes = figure.subplots()
        axes.bar(np.arange(number), np.sort(counted)[::-1] / counted.sum(), width=1.0)
        axes.axhline(1 / number, color="grey", lw=0.8, ls="--", label="even use")
        axes.set(xlabel="codes, from the most used", ylabel="share", xlim=(-0.5, number - 0.5))
        axes.legend()
        caption = (
            f"{name}: {in_use} of {number} codes are in use, perplexity {codes.perplexity(counted):.1f};"
            f" {part.size} codes of {len(x)} {split.split} examples."
        )
        alt = f"Bars: the share of each code of {name}, from the most used one"
        shown += html.paragraph(caption) + html.plot(figure, alt)
    return shown
