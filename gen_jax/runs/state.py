"""The state of a training, which checkpoints hold and evaluation reads, and how it begins."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from gen_jax.density import Functional, fold_in
from gen_jax.inputs import as_written
from gen_jax.typing import Batch, PRNGKey


class TrainState(NamedTuple):
    """All that training changes. `ema` is read by evaluation only; `collections` holds what a loss updates itself.

    How a collection goes over devices is decided by its name: see `sharding`.
    """

    step: Int[Array, ""]
    params: Any
    ema: Any
    opt_state: Any
    collections: dict[str, Any]


@as_written()
def create_state(
    model: Functional, optimizer: optax.GradientTransformation, key: PRNGKey, batch: Batch
) -> TrainState:
    """Initialise from one batch; the average starts at the (data-dependent) initialisation.

    The batch is the whole global one, under `jax.jit` whatever maps the steps: every device starts from the same state.
    """
    collections = dict(model.init(fold_in(key, "init"), batch["x"], cond=batch["cond"]))
    params = collections.pop("params", {})
    ema = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params), collections)
