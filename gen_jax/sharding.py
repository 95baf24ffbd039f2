"""A mesh with the axes `data` and `fsdp`: batches are split over both, large arrays of the state over `fsdp`.

With `fsdp` 1, the default, the state is on every device; otherwise each holds a part, and gathers what a layer needs
where it needs it (fully sharded data parallel: Rajbhandari, Rasley, Ruwase and He 2020, 1910.02054, stage 3).

The name of a collection that the loss updates decides how it is distributed: `carry` belongs to the rows of the batch
(truncated back-propagation) and is split with them, `counts` has sums over all rows so far, `frozen` never changes, and
any other collection has means over the rows of a batch.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gen_jax.errors import InputError

Parallel = Literal["jit", "pmap"]

AXES = ("data", "fsdp")
ROWS, STEPS = P(AXES), P(None, AXES)  # the rows of a batch, and of several batches in a row
LEAST = 1 << 16  # bytes; a smaller array is on every device


def device_mesh(batch_size: int, fsdp: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """All devices, or these, `fsdp` neighbours along its axis.

    InputError if `fsdp` does not divide the devices, or they do not divide the batch.
    """
    count = jax.device_count() if devices is None else len(devices)
    if count % fsdp:
        raise InputError(f"--fsdp {fsdp} does not divide the number of devices, {count}")
    if batch_size % count:
        raise InputError(f"batch_size {batch_size} does not split over {count} devices")
    shape, kinds = (count // fsdp, fsdp), (AxisType.Auto,) * 2
    return jax.make_mesh(shape, AXES, axis_types=kinds, devices=devices)


def leaf_spec(leaf: Any, parts: int) -> P:
    """How an array of the state is split over `fsdp`: along its longest axis that `parts` divides, the first of equals.

    An array below `LEAST` bytes, or without such an axis, is not.
    """
    axes = [axis for axis, size in enumerate(leaf.shape) if size % parts == 0]
    if parts == 1 or not axes or _bytes(leaf) < LEAST:
        return P()
    axis = max(axes, key=lambda axis: leaf.shape[axis])
    return P(*[None] * axis, "fsdp")


def state_sharding(state: Any, mesh: Mesh) -> Any:
    """Shardings of a train state, or of variables: carries are split over the batch, all else by `leaf_spec`."""

    def sharding_of(path, leaf):
        carry = "carry" in [getattr(entry, "key", None) for entry in path[:2]]
        return NamedSharding(mesh, ROWS if carry else leaf_spec(leaf, mesh.shape["fsdp"]))

    return jax.tree_util.tree_map_with_path(sharding_of, state)


def shaped(state: Any, placed: Any) -> Any:
    """Shapes and types of a state with these shardings."""
    like = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)  # noqa: E731
    return jax.tree.map(like, state, placed)


class Held(NamedTuple):
    """Bytes of a state: in all, on each device, and of the arrays that every device holds whole."""

    total: int
    device: int
    whole: int

    def __str__(self) -> str:
        share, whole = self.device / self.total, self.whole / self.total
        return (
            f"{self.total / 2**20:,.1f} MiB of state, {self.device / 2**20:,.1f} ({share:.3f}) on each device;"
            f" {whole:.3f} of it is in arrays that every device holds whole"
        )


def held(placed: Any) -> Held:
    """What the devices hold of a state, whose leaves have shardings."""
    leaves = jax.tree.leaves(placed)
    parts = [math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves]  # fmt: skip
    whole = sum(_bytes(leaf) for leaf in leaves if leaf.sharding.is_fully_replicated)
    return Held(sum(map(_bytes, leaves)), sum(parts), whole)


def _bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def over(mesh: Mesh, program: Callable[..., Any]) -> Callable[..., Any]:
    """The program for devices that split the state: its layers gather their weights (`ops/convolution.py`)."""
    if mesh.shape["fsdp"] == 1:
        return program

    @functools.wraps(program)
    def run(*args: Any, **options: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return program(*args, **options)

    return run


def put(batch: Any, mesh: Mesh, spec: P) -> Any:
    """Place a global host batch on the mesh: every process provides the parts of its devices."""
    sharding = NamedSharding(mesh, spec)

    def place(x: np.ndarray):
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place, batch)


def own_rows(count: int, mesh: Mesh) -> np.ndarray:
    """The rows of a batch of `count` that are on devices of this process, in order."""
    parts = NamedSharding(mesh, ROWS).addressable_devices_indices_map((count,)).values()
    return np.unique(np.concatenate([np.arange(count)[index] for index in parts]))


def put_own(batch: Any, mesh: Mesh, spec: P, rows: np.ndarray, count: int) -> Any:
    """Like `put`, of a batch of `count` rows of which each process has its `own_rows`, in the last axis of `spec`."""
    sharding, axis = NamedSharding(mesh, spec), len(spec) - 1

    def place(x: np.ndarray):
        def part(index):
            first, last, _ = index[axis].indices(count)
            own = slice(np.searchsorted(rows, first), np.searchsorted(rows, last))
            return x[(*index[:axis], own, *index[axis + 1 :])]

        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        return jax.make_array_from_callback(shape, sharding, part)

    return jax.tree.map(place, batch)


def filled(count: int, mesh: Mesh) -> int:
    """`count` rounded up to a multiple of the mesh's size."""
    return math.ceil(count / mesh.size) * mesh.size


def put_rows(batch: Any, mesh: Mesh) -> Any:
    """Place any number of rows, padded with copies of the first; the caller cuts off the padding."""

    def fill(x: np.ndarray):
        rows = np.arange(filled(len(x), mesh))
        return x[np.where(rows < len(x), rows, 0)]

    return put(jax.tree.map(fill, batch), mesh, ROWS)


def whole(x: jax.Array) -> np.ndarray:
    """A global array in the memory of this process; if parts are on devices of other processes, all call this."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def merged(before: dict[str, Any], after: dict[str, Any], axis: str) -> dict[str, Any]:
    """Under a mapped axis: the collections after the whole batch, given those after each device's rows.

    A carry stays on its device, increments of counts are summed, floats are averaged; integers and flags outside
    `counts` do not depend on the rows.
    """

    def average(x):
        return lax.pmean(x, axis) if jnp.issubdtype(x.dtype, jnp.floating) else x

    def collection(name: str):
        if name in ("carry", "frozen"):
            return after[name]
        if name == "counts":
            add = lambda old, new: old + lax.psum(new - old, axis)  # noqa: E731
            return jax.tree.map(add, before[name], after[name])
        return jax.tree.map(average, after[name])

    return {name: collection(name) for name in after}
