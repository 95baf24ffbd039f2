"""Samples and completions of a trained run."""

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import sampling
from gen_jax.density import fold_in
from gen_jax.errors import InputError
from gen_jax.evaluate.run import Run

MAX_BATCH = 64
SIDES = ("top", "bottom", "left", "right")


def sample(
    run: Run, num: int, seed: int = 0, label: int | None = None, temperature: float = 1.0
) -> np.ndarray:
    """`num` draws; a conditional model without a label goes through its classes in turn."""
    labels = labels_for(run, num, label)
    draw = jax.jit(run.model.sample, static_argnums=2)
    key = fold_in(jax.random.key(seed), "sample")
    parts = []
    for first in range(0, num, MAX_BATCH):
        count = min(MAX_BATCH, num - first)
        cond = None if labels is None else jnp.asarray(labels[first : first + count])
        parts.append(np.asarray(draw(run.variables, fold_in(key, first), count, cond, temperature)))
    return np.concatenate(parts)


def complete(
    run: Run,
    x: np.ndarray,
    keep: np.ndarray,
    seed: int = 0,
    labels: np.ndarray | None = None,
    temperature: float = 1.0,
) -> np.ndarray:
    """Each image with the pixels outside `keep` drawn given those inside, which stay as they are.

    A conditional model takes the class of each image from `labels`; InputError without them.
    """
    model = run.experiment.model
    if not hasattr(model, "sites"):
        raise InputError(
            f"{run.experiment.system} has no order of generation; only autoregressive models complete images"
        )
    known = sampling.prefix_length(model, keep)
    if run.conditional and labels is None:
        raise InputError(
            "the model is class-conditional: say of which class the images are, --label K"
        )

    @jax.jit
    def draw(variables, key, x, cond, num_known):
        return sampling.ancestral(
            model, variables, key, x.shape[0], cond, temperature, x, num_known
        )

    key = fold_in(jax.random.key(seed), "complete")
    parts = []
    for first in range(0, len(x), MAX_BATCH):
        part = jnp.asarray(x[first : first + MAX_BATCH], jnp.int32)
        cond = None if labels is None else jnp.asarray(labels[first : first + MAX_BATCH])
        parts.append(np.asarray(draw(run.variables, fold_in(key, first), part, cond, known)))
    return np.concatenate(parts)


def labels_for(run: Run, num: int, label: int | None) -> np.ndarray | None:
    """One class a draw; InputError on a label that the model does not have."""
    classes = run.experiment.model.num_classes
    if not classes:
        if label is not None:
            raise InputError(
                f"the model in {run.workdir.path} is not class-conditional: it takes no --label"
            )
        return None
    if label is not None and not 0 <= label < classes:
        raise InputError(
            f"--label {label} is out of range: the model has classes 0 to {classes - 1}"
        )
    return (
        np.arange(num, dtype=np.int32) % classes if label is None else np.full(num, label, np.int32)
    )


def kept_region(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The mask of SIDE:FRACTION, such as top:0.5; InputError on anything else."""
    side, _, fraction = text.partition(":")
    try:
        part = float(fraction)
    except ValueError:
        part = float("nan")
    if side not in SIDES or not 0 <= part <= 1:
        raise InputError(
            f"--keep needs SIDE:FRACTION such as top:0.5, with a side of {', '.join(SIDES)}, not {text!r}"
        )
    keep = np.zeros(shape, bool)
    count = round(shape[0 if side in ("top", "bottom") else 1] * part)
    where = {
        "top": np.s_[:count],
        "bottom": np.s_[shape[0] - count :],
        "left": np.s_[:, :count],
        "right": np.s_[:, shape[1] - count :],
    }
    keep[where[side]] = True
    return keep
