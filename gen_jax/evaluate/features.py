"""Features of examples from a trained model: the outputs of its network's blocks, or its latents."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from gen_jax import sharding
from gen_jax.conditions import conditional
from gen_jax.data.prepared import Split
from gen_jax.encoding import Interpolating
from gen_jax.errors import InputError
from gen_jax.nn.blocks import Featured
from gen_jax.runs.likelihood import batches
from gen_jax.runs.run import Trained

Rows = Float[np.ndarray, "n F"]


def features(run: Trained, split: Split, block: int | None = None) -> Rows:
    """Features of each example: the mean over all places of a block's output, or the latents, flattened.

    Without `block`: the latents if the model has any, otherwise the last block. InputError if it has neither.
    """
    model: Any = run.experiment.model
    if block is None and isinstance(model, Interpolating):
        return _latents(run, split)
    count = num_blocks(run, split.x[:1])
    return blocks(run, split, [chosen(run, count, block)])[0].astype(np.float32)


def num_blocks(run: Trained, x: np.ndarray) -> int:
    """How many blocks the network shows; InputError if it shows none, or is given a condition besides x."""
    model: Any = run.experiment.model
    if conditional(model):
        raise InputError(
            f"{run.experiment.system} is given a class or another condition, which its blocks' features would show"
        )
    shown = ()
    if isinstance(model, Featured):
        shown = jax.eval_shape(_shown(run), run.variables, x)
    if not shown:
        raise InputError(f"{run.experiment.system} shows no blocks whose features could be read")
    return len(shown)


def chosen(run: Trained, count: int, block: int | None) -> int:
    """The number of a block, by default the last; InputError if there is none with that number."""
    if block is not None and not 1 <= block <= count:
        raise InputError(f"{run.experiment.system} has blocks 1 to {count}, not {block}")
    return count if block is None else block


def blocks(run: Trained, split: Split, numbers: Sequence[int]) -> list[Rows]:
    """The features of these blocks, counted from 1, for all examples of a split, in float64."""
    shown = _shown(run)

    def embed(variables, x, cond):
        del cond  # none, see `num_blocks`
        every = shown(variables, x)
        return [every[number - 1] for number in numbers]

    return [rows.astype(np.float64) for rows in _over(run, split, embed)]


def _shown(run: Trained) -> Callable[..., Any]:
    model: Any = run.experiment.model
    return lambda variables, x: model.apply(variables, x, method="block_features")


def _latents(run: Trained, split: Split) -> Rows:
    model: Any = run.experiment.model

    def encode(variables, x, cond):
        leaves = jax.tree.leaves(model.apply(variables, x, cond, method="latents_of"))
        return [leaf.reshape(len(leaf), -1) for leaf in leaves]

    return np.concatenate(_over(run, split, encode), axis=1)


def _over(run: Trained, split: Split, embed: Callable[..., list[Any]]) -> list[np.ndarray]:
    """Arrays of all examples of a split, computed in batches under the protocol of evaluation."""

    @jax.jit
    def compiled(variables, x, cond):
        with jax.default_matmul_precision("highest"):
            return embed(variables, x, cond)

    size, given, parts = run.experiment.evaluate.batch_size, conditional(run.experiment.model), []
    for _, batch, counted in batches(split, None, size, run.mesh, given):
        arrays = compiled(run.variables, batch["x"], batch["cond"])
        parts.append([sharding.whole(array)[counted] for array in arrays])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
