"""The state of a training, which checkpoints store and evaluation reads, and its initial value."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree

from gen_jax.density import Functional, fold_in
from gen_jax.inputs import as_written
from gen_jax.typing import Batch, PRNGKey


class TrainState(NamedTuple):
    """Everything that training changes. Only evaluation reads `ema`; `collections` are updated by the loss itself.

    A collection's name decides how it is sharded over devices: see `sharding`.
    """

    step: Int[Array, ""]
    params: Any
    ema: Any
    opt_state: Any
    collections: dict[str, Any]


class Averages(NamedTuple):
    """The part of a train state that evaluation reads."""

    ema: Any
    collections: dict[str, Any]


@as_written()
def create_state(
    model: Functional, optimizer: optax.GradientTransformation, key: PRNGKey, batch: Batch
) -> TrainState:
    """Initialise from one batch; the average starts at the (data-dependent) initialisation.

    The batch is the whole global batch, under `jax.jit` also if `pmap` runs the steps: all devices start equal.
    """
    collections = dict(model.init(fold_in(key, "init"), batch["x"], cond=batch["cond"]))
    params = collections.pop("params", {})
    ema = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params), collections)


def cleared(carry: PyTree, begins: Bool[Array, " B"]) -> PyTree:
    """A carry with zeros in each row whose stream or piece begins."""

    def clear(x):
        return jnp.where(begins.reshape(-1, *(1,) * (x.ndim - 1)), 0, x)

    return jax.tree.map(clear, carry)
