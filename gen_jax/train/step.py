"""The train step: a pure function of (state, batch), the same for every system and number of devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool

from gen_jax import sharding, target
from gen_jax.density import Functional, fold_in
from gen_jax.inputs import as_written
from gen_jax.ops.augment import Augmentation, augmented
from gen_jax.runs.state import TrainState, cleared
from gen_jax.typing import Batch, MetricRows, Metrics, PRNGKey


@as_written()
def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: Functional,
    optimizer: optax.GradientTransformation,
    key: PRNGKey,
    ema: float,
    accumulate: int = 1,
    skip_above: float | None = None,
    augment: tuple[Augmentation, ...] = (),
    axis: str | None = None,
) -> tuple[TrainState, Metrics]:
    """One update from one batch; noise is `fold_in(key, step)`, the average decays by min(ema, (1 + t) / (10 + t)).

    - The examples are changed by `augment` under the key `fold_in(step key, "augment")`.
    - A collection named `schedule` holds the number of steps done, for losses whose weights change during training.
    - If the norm of the gradient is above `skip_above` or not finite, the step changes nothing but the number of steps,
      and the metric `skipped` is 1.
    - Rows with `begins` true in the batch start a new stream or piece: their carry is set to zero first.
    - Under a mapped `axis` the batch holds the rows of one device. Then noise also depends on the device's index,
      gradients and metrics (means over rows) are averaged over the devices, and collections are merged by name.
    """
    step_key = fold_in(fold_in(key, "loss"), state.step)
    if axis is not None:
        step_key = fold_in(step_key, lax.axis_index(axis))

    batch = dict(batch)
    if augment:
        batch["x"] = augmented(batch["x"], fold_in(step_key, "augment"), augment)
    before = dict(state.collections)
    if (begins := batch.pop("begins", None)) is not None:
        before["carry"] = cleared(before["carry"], begins)

    def loss(params, collections, part, part_key):
        variables = {"params": params, **collections}
        sizes = {"sizes": part["sizes"]} if "sizes" in part else {}
        return model.loss(variables, part["x"], part_key, cond=part["cond"], **sizes)

    def gradient(carry, inputs):
        (collections, total), (part, index) = carry, inputs
        part_key = fold_in(step_key, index) if accumulate > 1 else step_key
        (value, (metrics, updated)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params, collections, part, part_key
        )
        if axis is not None:
            updated = sharding.merged(collections, updated, axis)
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
        return (updated, total), {"loss": value, **metrics}

    if accumulate == 1:
        (collections, grads), metrics = gradient((before, None), (batch, 0))
    else:
        # A sum that only grows: XLA adds up the gradients of each device first, and those of all devices once.
        start = before, jax.tree.map(jnp.zeros_like, state.params)
        parts = jax.tree.map(lambda x: _split(x, accumulate), batch)
        (collections, total), metrics = scan(gradient, start, (parts, jnp.arange(accumulate)))
        grads = jax.tree.map(lambda x: x / accumulate, total)
        metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)
    if axis is not None:
        grads, metrics = lax.pmean((grads, metrics), axis)
    if "schedule" in collections:
        steps = jax.tree.map(lambda _: state.step + 1, collections["schedule"])
        collections = {**collections, "schedule": steps}

    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    decay = jnp.minimum(ema, (1 + state.step) / (10 + state.step))
    average = jax.tree.map(
        lambda old, new: (old + (1 - decay) * (new - old)).astype(old.dtype), state.ema, params
    )
    if skip_above is not None:
        skipped = ~(optax.tree.norm(grads) <= skip_above)  # true of NaN as well
        still = (state.params, state.ema, state.opt_state, jax.tree.map(jnp.zeros_like, updates))
        moved = (params, average, opt_state, updates)
        params, average, opt_state, updates = _chosen(skipped, still, moved)
        counted = {"schedule": collections["schedule"]} if "schedule" in collections else {}
        collections = _chosen(skipped, {**before, **counted}, collections)
        metrics["skipped"] = skipped.astype(float)
    metrics |= {
        "grad_norm": optax.tree.norm(grads),
        "param_norm": optax.tree.norm(params),
        "update_norm": optax.tree.norm(updates),
    }
    return TrainState(state.step + 1, params, average, opt_state, collections), metrics


def _chosen(condition: Bool[Array, ""], tree: Any, otherwise: Any) -> Any:
    """`tree` if the condition holds, else `otherwise`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), tree, otherwise)


def train_steps(
    state: TrainState,
    batches: Batch,
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
) -> tuple[TrainState, MetricRows]:
    """Several steps in one program; metrics are stacked, one row per step."""
    return scan(step, state, batches)


def jitted(step: Callable[..., Any], mesh: Mesh, placed: TrainState) -> Any:
    """`train_steps` as a program that the compiler splits over the mesh; the state, sharded as placed, is donated."""
    return jax.jit(
        sharding.over(mesh, functools.partial(train_steps, step=step)),
        donate_argnums=0,
        out_shardings=(placed, NamedSharding(mesh, P())),
    )


def unrolled() -> bool:
    """Whether scans are unrolled, as on CPU: XLA's gradients of a convolution are up to thirty times slower in a loop.

    Those of `ops.convolution` are not; the cost of a loop for whole train steps is not measured yet.
    """
    return target.platform() == "cpu"


def scan(body: Callable, carry: Any, inputs: Any) -> tuple[Any, Any]:
    """`lax.scan`, or the same as a Python loop if `unrolled`."""
    if not unrolled():
        return lax.scan(body, carry, inputs)
    outputs = []
    for i in range(len(jax.tree.leaves(inputs)[0])):
        carry, output = body(carry, jax.tree.map(lambda x, i=i: x[i], inputs))
        outputs.append(output)
    return carry, jax.tree.map(lambda *rows: jnp.stack(rows), *outputs)


def _split(x: Array, parts: int) -> Array:
    """Split rows into `parts` micro-batches, interleaved so that every row stays on its device."""
    return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)
