"""A mesh with one axis, `data`: batches are split over it, the state is on every device.

The name of a collection that the loss updates decides how it is distributed: `carry` belongs to the rows of the batch
(truncated back-propagation) and is split with them, `counts` has sums over all rows so far, `frozen` never changes, and
any other collection has means over the rows of a batch.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gen_jax.errors import InputError

Parallel = Literal["jit", "pmap"]


def data_mesh(batch_size: int) -> Mesh:
    """All devices in one axis; InputError if they do not divide the batch."""
    count = jax.device_count()
    if batch_size % count:
        raise InputError(f"batch_size {batch_size} does not split over {count} devices")
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))


def state_sharding(state: Any, mesh: Mesh) -> Any:
    """Shardings of a train state: carries are split over the batch, everything else is replicated."""

    def sharding_of(path, _):
        names = [getattr(entry, "key", getattr(entry, "name", None)) for entry in path]
        carry = names[:2] == ["collections", "carry"]
        return NamedSharding(mesh, P("data") if carry else P())

    return jax.tree_util.tree_map_with_path(sharding_of, state)


def put(batch: Any, mesh: Mesh, spec: P) -> Any:
    """Place a global host batch on the mesh: every process provides the parts of its devices."""
    sharding = NamedSharding(mesh, spec)

    def place(x: np.ndarray):
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place, batch)


def own_rows(count: int, mesh: Mesh) -> np.ndarray:
    """The rows of a batch of `count` that are on devices of this process, in order."""
    parts = NamedSharding(mesh, P("data")).addressable_devices_indices_map((count,)).values()
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

    return put(jax.tree.map(fill, batch), mesh, P("data"))


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
