"""`--parallel pmap`: the same train step, run by each device on its own rows under `jax.pmap`.

Under `jax.jit`, the default, the compiler splits one program over the mesh; here `train_step` itself averages over the
axis. The state enters and leaves with the shapes and shardings of `jax.jit`, so that checkpoints and evaluation are the
same.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from gen_jax.errors import InputError
from gen_jax.runs.state import TrainState
from gen_jax.train.step import train_steps


def pmapped(step: Callable[..., Any], mesh: Mesh, placed: TrainState) -> Callable[..., Any]:
    """`train_steps` by pmap: global state and batches in, global state and metrics out; the state is donated.

    `placed` holds the shardings of the state. InputError if there are several processes, or a split state.
    """
    if mesh.shape["fsdp"] > 1:
        raise InputError(
            "--parallel pmap keeps the whole state on every device; use --parallel jit"
        )
    if jax.process_count() > 1:
        raise InputError("--parallel pmap is for one process; use --parallel jit")

    def steps(state, batches):
        return train_steps(state, batches, step=functools.partial(step, axis="data"))

    def split(x, axis):
        if axis is None:
            return x
        return x.reshape(*x.shape[:axis], mesh.size, -1, *x.shape[axis + 1 :])

    def join(x, axis):
        return x if axis is None else x.reshape(-1, *x.shape[2:])

    axes = jax.tree.map(lambda sharding: None if sharding.spec == P() else 0, placed)
    pmap = functools.partial(jax.pmap, axis_name="data", devices=list(mesh.devices.flat))
    mapped = pmap(steps, in_axes=(axes, 1), out_axes=(axes, None), donate_argnums=0)

    def run(state, batches):
        rows = jax.tree.map(lambda x: split(x, 1), batches)
        state, metrics = mapped(jax.tree.map(split, state, axes), rows)
        return jax.tree.map(join, state, axes), metrics

    return run
