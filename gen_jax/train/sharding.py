"""One mesh with one axis, `data`: batches are split over it, the state is on every device.

A collection named `carry` belongs to the rows of the batch (truncated back-propagation) and is split with them.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gen_jax.errors import InputError


def data_mesh(batch_size: int) -> Mesh:
    """All devices in one axis; InputError where they do not divide the batch."""
    count = jax.device_count()
    if batch_size % count:
        raise InputError(f"batch_size {batch_size} does not split over {count} devices")
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))


def state_sharding(state: Any, mesh: Mesh) -> Any:
    """Shardings of a train state: carries over the batch, all else replicated."""

    def of(path, _):
        names = [getattr(entry, "key", getattr(entry, "name", None)) for entry in path]
        carry = names[:2] == ["collections", "carry"]
        return NamedSharding(mesh, P("data") if carry else P())

    return jax.tree_util.tree_map_with_path(of, state)


def put(batch: Any, mesh: Mesh, spec: P) -> Any:
    """Place a global host batch: every process hands over the parts of its own devices, whatever their number."""
    sharding = NamedSharding(mesh, spec)

    def place(x: np.ndarray):
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place, batch)
