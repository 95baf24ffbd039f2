"""Receptive fields: the pixels on which the distribution of a pixel really depends, and those it declares.

Strength is the mean absolute change of the parameters of p(x_site | x_<site). If the model accepts real inputs
(`takes_reals`), it is a gradient, per level; otherwise it is the change when one pixel of an image is replaced. The
mean is over images and, for gradients, over random signs of the parameters. A zero is exact: the pixel has no
influence.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, Num
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from gen_jax.data.batches import spread, take
from gen_jax.density import Autoregressive, root_key
from gen_jax.errors import InputError
from gen_jax.runs.run import Run
from gen_jax.runs.splits import load_split
from gen_jax.typing import PRNGKey, Variables

SIGNS, CHANGED_AT_ONCE, DECADES = 8, 64, 6
BLIND, OUTLINE, SITE = "#e4e4e4", "#00b4d8", "#d62728"


@dataclass(frozen=True)
class Field:
    """For one pixel (row, column): strength of its dependence on each, declared pixels, number of earlier ones."""

    name: str
    place: tuple[int, int]
    strength: Float[np.ndarray, "H W"]
    declared: Bool[np.ndarray, "H W"]
    earlier: int

    def counts(self) -> dict[str, int]:
        """Numbers of pixels: earlier ones, declared ones, those with influence, and undeclared ones among these."""
        depends = self.strength > 0
        return {
            "earlier": self.earlier,
            "declared": int(self.declared.sum()),
            "depends_on": int(depends.sum()),
            "undeclared": int((depends & ~self.declared).sum()),
        }


def field(
    model: Any,
    variables: Variables,
    place: tuple[int, int],
    x: Integer[np.ndarray, "B H W C"],
    labels: Integer[np.ndarray, " B"] | None,
    name: str,
    seed: int = 0,
) -> Field:
    """The receptive field of a pixel's first value over the images `x`; InputError if there is no such pixel."""
    site = site_of(model, place, name)
    measure = by_gradient if model.takes_reals else by_changes
    with jax.default_matmul_precision("highest"):
        strength = measure(model, variables, site, x, labels, seed)
    H, W, C = model.event.shape
    declared = np.zeros(H * W, bool)
    declared[model.sites[model.context(site)].ravel() // C] = True
    earlier = len(np.unique(model.sites[:site] // C))
    return Field(name, place, strength, declared.reshape(H, W), earlier)


def site_of(model: Any, place: tuple[int, int], name: str) -> int:
    """The site of a pixel's first value; InputError if the model has no pixels or not this one."""
    shape = model.event.shape
    if not isinstance(model, Autoregressive) or len(shape) != 3:
        raise InputError(
            f"{name} does not generate images pixel by pixel: it has no receptive field"
        )
    if place[0] >= shape[0] or place[1] >= shape[1]:
        raise InputError(
            f"--site {place[0]},{place[1]} lies outside the {shape[0]}x{shape[1]} images of {name}"
        )
    return int(
        np.argmax(np.any(model.sites == (place[0] * shape[1] + place[1]) * shape[2], axis=1))
    )


def images(
    run: Run, count: int, split: str | None, data_dir: Path | None, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Examples spread over a split, with their classes, or noise (if `split` is None) with all classes in turn."""
    model = run.experiment.model
    if split is None:
        x = np.random.default_rng(seed).integers(0, model.levels, (count, *model.event.shape))
        return x, np.arange(count) % model.num_classes if model.num_classes else None
    data = load_split(run.experiment, split, data_dir)
    batch = take(data, spread(len(data), count), run.conditional)
    return batch["x"], batch["cond"]


def by_gradient(
    model: Any,
    variables: Variables,
    site: int,
    x: Num[np.ndarray, "B H W C"],
    labels: Integer[np.ndarray, " B"] | None,
    seed: int = 0,
) -> Float[np.ndarray, "H W"]:
    """Mean |d (signs . params) / d x|, summed over the channels of a pixel; one backward pass per draw of the signs."""

    cond = None if labels is None else jnp.asarray(labels)

    @jax.jit
    def gradients(x: Float[Array, "B H W C"], key: PRNGKey) -> Float[Array, "H W"]:
        params, pull = jax.vjp(lambda x: model.apply(variables, x, cond)[:, site], x)
        signs = jax.random.rademacher(key, (SIGNS, *params.shape), params.dtype)
        each = lax.map(lambda sign: jnp.mean(jnp.abs(pull(sign)[0]), axis=0), signs)
        return jnp.sum(jnp.mean(each, axis=0), axis=-1)

    reals = jnp.asarray(x, jnp.result_type(float))
    return np.asarray(gradients(reals, root_key(seed)))


def by_changes(
    model: Any,
    variables: Variables,
    site: int,
    x: Num[np.ndarray, "B H W C"],
    labels: Integer[np.ndarray, " B"] | None,
    seed: int = 0,
) -> Float[np.ndarray, "H W"]:
    """Mean |change of the parameters| when all values of one pixel change to other levels, for each pixel."""
    program = jax.jit(lambda x, cond: model.apply(variables, x, cond)[:, site])
    (H, W, C), rng = x.shape[1:], np.random.default_rng(seed)
    strength, size = np.zeros(H * W), min(CHANGED_AT_ONCE, H * W)
    for i, image in enumerate(x):
        cond = None if labels is None else np.repeat(labels[i], size)
        same = np.repeat(image[None], size, axis=0)
        before = np.asarray(program(same, cond))  # each row in its later place, for equal bits
        for first in range(0, H * W, size):
            pixels = np.minimum(np.arange(first, first + size), H * W - 1)
            changed = same.reshape(size, H * W, C).astype(np.int32)
            steps = rng.integers(1, model.levels, (size, C))
            changed[np.arange(size), pixels] += steps
            changed = (changed % model.levels).astype(x.dtype).reshape(same.shape)
            moved = np.abs(np.asarray(program(changed, cond)) - before).sum(axis=-1)
            strength[pixels] += moved / len(x)
    return strength.reshape(H, W)


def picture(fields: list[Field]) -> Figure:
    """The fields side by side: strength relative to the largest, grey without influence, declared context outlined."""
    figure = Figure(figsize=(3.1 * len(fields) + 0.9, 3.6), layout="constrained")
    axes = figure.subplots(1, len(fields), squeeze=False)[0]
    norm = LogNorm(10.0**-DECADES, 1.0, clip=True)
    for axis, field in zip(axes, fields, strict=True):
        relative = field.strength / (field.strength.max() or 1.0)
        axis.set_facecolor(BLIND)
        axis.imshow(np.ma.masked_equal(relative, 0.0), cmap="magma", norm=norm)
        axis.add_collection(
            LineCollection(list(outline(field.declared)), colors=OUTLINE, linewidths=1.5)
        )
        axis.plot(field.place[1], field.place[0], "s", color=SITE, markersize=5)
        counts = field.counts()
        title = f"{field.name}\n{counts['depends_on']} of {counts['earlier']} earlier pixels"
        if counts["undeclared"]:
            title += f", {counts['undeclared']} undeclared"
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(ScalarMappable(norm, "magma"), ax=axes, label="relative influence", shrink=0.8)
    return figure


def outline(mask: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "edges 2 2"]:
    """The edges between pixels inside and outside the mask, as segments of (x, y) in picture coordinates."""
    inside, lines = np.pad(mask, 1), []
    for r, c in np.argwhere(inside[1:] != inside[:-1]) - 0.5:
        lines.append([(c - 1, r), (c, r)])
    for r, c in np.argwhere(inside[:, 1:] != inside[:, :-1]) - 0.5:
        lines.append([(c, r - 1), (c, r)])
    return np.array(lines, np.float64).reshape(-1, 2, 2)
