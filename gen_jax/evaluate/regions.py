"""The part of an event that is kept while the rest is drawn or coded: its spelling, and an order that sees it first."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from gen_jax.data.png import read_png
from gen_jax.data.prepared import Split
from gen_jax.density import AnyOrder, Autoregressive, root_key
from gen_jax.errors import InputError
from gen_jax.models.autoregressive.base import prefix_length
from gen_jax.ops.orders import ObservedFirst
from gen_jax.runs.likelihood import Likelihoods, Result
from gen_jax.runs.run import Trained
from gen_jax.typing import Event

T = TypeVar("T", bound=Trained)
Mask = Bool[np.ndarray, "*event"]
SIDES = ("top", "bottom", "left", "right", "centre")
SPELLINGS = f"a mask FILE.png, random:FRACTION:SEED or SIDE:FRACTION such as top:0.5, with a side of {', '.join(SIDES)}"


def read_mask(text: str, shape: tuple[int, ...], max_bytes: int | None = None) -> Mask:
    """True where a value is kept: SIDE:FRACTION, random:FRACTION:SEED or a PNG; InputError on anything else."""
    if text.endswith(".png"):
        return _spread(_white(Path(text), shape[:2], max_bytes), shape)
    name, *numbers = text.split(":")
    try:
        part, *seeds = float(numbers[0]), *map(int, numbers[1:])
    except (ValueError, IndexError):
        part, seeds = float("nan"), []
    fits = not seeds if name in SIDES else name == "random" and len(seeds) < 2
    if not (fits and 0 <= part <= 1 and min(seeds, default=0) >= 0):
        raise InputError(f"--keep needs {SPELLINGS}, not {text!r}")
    if name == "random":
        return _spread(_random(part, *seeds, shape=shape[:2]), shape)
    keep = np.zeros(shape, bool)
    height, width = (round(side * part) for side in shape[:2])
    high, wide = ((side - size) // 2 for side, size in zip(shape, (height, width), strict=False))
    where = {
        "top": np.s_[:height],
        "bottom": np.s_[shape[0] - height :],
        "left": np.s_[:, :width],
        "right": np.s_[:, shape[1] - width :],
        "centre": np.s_[high : high + height, wide : wide + width],
    }
    keep[where[name]] = True
    return keep


def _random(part: float, seed: int = 0, *, shape: tuple[int, ...]) -> Bool[np.ndarray, "H W"]:
    """So many of all places, chosen by the seed."""
    keep = np.zeros(np.prod(shape), bool)
    keep[np.random.default_rng(seed).permutation(keep.size)[: round(part * keep.size)]] = True
    return keep.reshape(shape)


def _white(path: Path, sides: tuple[int, ...], max_bytes: int | None) -> Bool[np.ndarray, "H W"]:
    """Where a picture is white; InputError where it has another size or is not in black and white."""
    grey = read_png(path, max_bytes).grey
    if grey.shape[:2] != sides:
        (high, wide), (height, width) = grey.shape[:2], sides
        raise InputError(f"{path} is {high}x{wide}, the model is of {height}x{width}")
    if grey.shape[2] != 1 or set(np.unique(grey)) - {0, 255}:
        raise InputError(
            f"{path} is no mask: it needs white where pixels are kept, black elsewhere"
        )
    return grey[..., 0] == 255


def _spread(places: Bool[np.ndarray, "H W"], shape: tuple[int, ...]) -> Mask:
    """All channels of a pixel together."""
    return np.broadcast_to(places[..., None], shape).copy()


def seen_first(run: T, keep: Mask) -> tuple[T, int]:
    """The run in an order that begins with the kept part, and the number of sites in it.

    That is the model's own order if it can be, else one of those that it was trained on, else its own over the kept
    places and then over the rest. InputError with the reason where the weights serve no such order.
    """
    model, event = run.experiment.model, run.experiment.model.event
    if not isinstance(model, Autoregressive):
        raise InputError(
            f"{run.experiment.system} has no order of generation: it draws nothing given a part of an event"
        )
    try:
        return run, prefix_length(model, keep)
    except InputError:
        if not isinstance(model, AnyOrder):
            raise
    places = keep.reshape(*event.shape[:2], -1)
    for order in model.orders:
        other = run.ordered(order)
        with contextlib.suppress(InputError):
            return other, prefix_length(other.experiment.model, keep)
    other = run.ordered(ObservedFirst.of(model.order, np.asarray(places.any(axis=-1))))
    return other, prefix_length(other.experiment.model, keep)


def follows(run: Trained, keep: Mask) -> bool:
    """Whether the run's own order begins with the kept part."""
    try:
        prefix_length(run.experiment.model, keep)
    except InputError:
        return False
    return True


def conditional(run: Trained, split: Split, keep: Mask, limit: int | None = None) -> Result:
    """log p(hidden part | kept part) of every example, whose bits/dim are of the hidden values."""
    if keep.all():
        raise InputError("--keep keeps every value: nothing is left to predict")
    run, _ = seen_first(run, keep)
    return hidden_part(run, split, [keep], limit)[0]


def hidden_part(
    run: Trained, split: Split, keeps: Sequence[Mask], limit: int | None = None
) -> list[Result]:
    """For each region the sum of log p(x_i | x_<i) over its hidden values, in bits/dim of these.

    x_<i are all values before x_i in the run's order, kept or hidden: the sum is log p(hidden part | kept part) only if
    the order begins with the kept part.
    """
    module = run.model.model
    hidden = np.stack([~keep.reshape(-1)[module.sites[:, 0]] for keep in keeps])

    def log_prob(variables, x, key=None, cond=None, draws=1):
        sites = module.apply(variables, x, cond, method="log_prob_sites")
        return jnp.sum(jnp.where(hidden, sites[:, None], 0), axis=2)

    model, judge = run.model._replace(log_prob=log_prob), run.experiment.evaluate
    likelihoods = Likelihoods(model, run.mesh, judge.batch_size, root_key(run.experiment.seed))
    result = likelihoods(run.variables, split, limit)
    sizes = [int((~keep).sum()) for keep in keeps]
    return [
        replace(result, per_example=nats, event=Event((size,), result.event.levels))
        for nats, size in zip(result.per_example.T, sizes, strict=True)
    ]
