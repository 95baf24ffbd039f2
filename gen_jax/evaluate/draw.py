"""Samples and completions of a trained run, with rows split over all devices.

The noise of a row depends on the seed and its place in the batch, not on the devices: rows are padded to a number that
the devices divide, and the padding is cut off. The result is declared as split; the compiler carries the split back
through the loop over sites, which `tests/test_devices.py` checks in the compiled program of every model.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from gen_jax import inputs, progress, sharding
from gen_jax.conditions import Cond, events_of, rows_of
from gen_jax.density import Functional, fold_in, root_key
from gen_jax.encoding import Reconstructing
from gen_jax.errors import InputError
from gen_jax.evaluate.regions import seen_first
from gen_jax.models.autoregressive import base
from gen_jax.runs.run import Trained
from gen_jax.typing import PRNGKey


def sample(
    run: Trained,
    num: int,
    seed: int = 0,
    label: int | None = None,
    temperature: float = 1.0,
    length: int | None = None,
    prompt: Sequence[int] = (),
    cond: Cond = None,
) -> np.ndarray:
    """`num` samples; a class-conditional model takes `label`, one `cond` per sample, or else all classes in turn.

    Sequences begin with the `prompt`, which the model reads first, and have `length` values after it; by default they
    are as long as the model's events. InputError if the model cannot draw another length.
    """
    labels = labels_for(run, num, label) if cond is None else cond
    inputs.temperature(temperature)
    if length is not None:
        run = run.lengthened(len(prompt) + length)
    if prompt:
        x = np.zeros((num, run.experiment.model.event.size), np.int32)
        if len(prompt) > x.shape[1]:
            raise InputError(f"the prompt is longer than the model's sequences of {x.shape[1]}")
        x[:, : len(prompt)] = prompt
        return complete(run, x, np.arange(x.shape[1]) < len(prompt), seed, labels, temperature)
    draw = sampler(run.model, run.mesh)
    batch = base.batch_of(run.experiment.model, run.variables)
    key = fold_in(root_key(seed), "sample")
    parts = []
    with progress.bar("sample", num) as advance:
        for first in range(0, num, batch):
            count = min(batch, num - first)
            rows = sharding.filled(count, run.mesh)
            cond = sharding.put_rows(rows_of(labels, slice(first, first + count)), run.mesh)
            drawn = draw(run.variables, fold_in(key, first), rows, cond, temperature)
            parts.append(sharding.whole(drawn)[:count])
            advance(count)
    return np.concatenate(parts)


def usual_length(run: Trained, length: int | None) -> int | None:
    """`length` if the model can draw sequences of that length, otherwise None, which stands for its event's length."""
    try:
        return length and run.lengthened(length).experiment.model.event.size
    except InputError:
        return None


def sampler(model: Functional, mesh: Mesh) -> Any:
    """`model.sample`, compiled with rows split over the mesh, whose size must divide their number."""
    return jax.jit(model.sample, static_argnums=2, out_shardings=NamedSharding(mesh, sharding.ROWS))


def reconstruct(run: Trained, x: np.ndarray, seed: int = 0, cond: Cond = None) -> np.ndarray:
    """Reconstructions of examples, with their classes if the model has any; InputError for a model that has none."""
    check_reconstructing(run)
    reconstructed = jax.jit(functools.partial(run.experiment.model.apply, method="reconstruct"))
    parts = []
    for rows, key in in_batches(run, len(x), reconstruction_key(seed)):
        part, given = sharding.put_rows((x[rows].astype(np.int32), rows_of(cond, rows)), run.mesh)
        options = {} if cond is None else {"cond": given}
        drawn = reconstructed(run.variables, part, key, **options)
        parts.append(sharding.whole(drawn)[: len(x[rows])])
    return np.concatenate(parts)


def check_reconstructing(run: Trained) -> None:
    """InputError if the model reconstructs nothing."""
    if not isinstance(run.experiment.model, Reconstructing):
        raise InputError(
            f"{run.experiment.system} does not encode events: there is nothing to reconstruct them from"
        )


def reconstruction_key(seed: int) -> PRNGKey:
    """The key of reconstructions; the ends of an interpolation have the same."""
    return fold_in(root_key(seed), "reconstruct")


def in_batches(run: Trained, count: int, key: PRNGKey) -> Iterator[tuple[slice, PRNGKey]]:
    """The rows of each batch and the key of its noise, which is `key` itself for the first."""
    batch = base.batch_of(run.experiment.model, run.variables)
    firsts = range(0, count, batch)
    for first in progress.counted(firsts, "batch"):
        yield slice(first, min(first + batch, count)), fold_in(key, first) if first else key


def curves(run: Trained, x: np.ndarray, seed: int = 0, cond: Cond = None) -> dict[str, np.ndarray]:
    """The mean over examples of the model's curves, such as the terms of a bound, for models that have some."""
    computed = jax.jit(functools.partial(run.experiment.model.apply, method="curves"))
    key = fold_in(root_key(seed), "curves")
    rows, given = sharding.put_rows((x, cond), run.mesh)
    options = {} if cond is None else {"cond": given}
    per_example = jax.tree.map(sharding.whole, computed(run.variables, rows, key, **options))
    return {name: values[: len(x)].mean(axis=0) for name, values in per_example.items()}


def complete(
    run: Trained,
    x: np.ndarray,
    keep: np.ndarray,
    seed: int = 0,
    labels: Cond = None,
    temperature: float = 1.0,
) -> np.ndarray:
    """Each image with the pixels outside `keep` drawn given those inside, which stay as they are.

    Exact: where the weights serve any order, in one that sees the kept part first; else InputError unless the kept part
    is a prefix of the model's order. A conditional model takes the class of each image from `labels`; InputError
    without them.
    """
    run, known = seen_first(run, keep)
    model = run.experiment.model
    temperature = inputs.temperature(temperature).values
    if run.conditional and labels is None:
        raise InputError(
            "the model is class-conditional: give the class of the images with --label K"
        )

    def rest(variables, key, x, cond, num_known):
        return base.ancestral(model, variables, key, x.shape[0], cond, temperature, x, num_known)

    draw = jax.jit(rest, out_shardings=NamedSharding(run.mesh, sharding.ROWS))
    key = fold_in(root_key(seed), "complete")
    parts = []
    batch = base.batch_of(model, run.variables)
    for first in progress.counted(range(0, len(x), batch), "batch"):
        rows = slice(first, first + batch)
        part = sharding.put_rows(x[rows].astype(np.int32), run.mesh)
        cond = sharding.put_rows(rows_of(labels, rows), run.mesh)
        drawn = draw(run.variables, fold_in(key, first), part, cond, known)
        parts.append(sharding.whole(drawn)[: len(x[rows])])
    return np.concatenate(parts)


def labels_for(run: Trained, num: int, label: int | None) -> np.ndarray | None:
    """The class of each sample; InputError for a label that the model does not have."""
    classes, events = run.experiment.model.num_classes, events_of(run.experiment.model)
    if events:
        shapes = " and ".join(str(event.shape) for event in events)
        raise InputError(
            f"{run.experiment.system} needs a condition of shape {shapes} for each sample: give it from Python"
        )
    if not classes:
        if label is not None:
            raise InputError(
                f"{run.experiment.system} is not class-conditional: it takes no --label"
            )
        return None
    if label is not None and not 0 <= label < classes:
        raise InputError(
            f"--label {label} is out of range: the model has classes 0 to {classes - 1}"
        )
    return (
        np.arange(num, dtype=np.int32) % classes if label is None else np.full(num, label, np.int32)
    )
