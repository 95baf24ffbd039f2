"""Two checksums of an array that depend neither on the devices it is on nor on how it is split over them.

sum_i b_i (2 h(i) + 1) mod 2^32 over the elements, once with h(i) and once with h(i + 2^31): b_i are the bits of element
i, h is the finaliser of MurmurHash3 (Appleby, 2011). The factors are odd, so any change of one element changes both
sums. A split array is summed where its parts are, and only the sums are sent.
"""

import functools
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from gen_jax import sharding

ON_HOST = 1 << 18  # bytes of a whole array up to which no program is worth compiling


def sums(tree: Any) -> dict[str, list[int]]:
    """The two sums of each leaf, by path; of a split array the processes that hold parts call this together."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(path): _of(leaf) for path, leaf in leaves}
    return {name: [int(total) for total in pair] for name, pair in jax.device_get(named).items()}


def crcs(tree: Any) -> dict[str, int]:
    """The CRC-32 of each leaf's bytes, by path, as in checkpoints of earlier versions."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path): zlib.crc32(sharding.whole(leaf).tobytes())
        for path, leaf in leaves
    }


def _of(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array):
        return _pair(leaf, np)
    if leaf.is_fully_replicated and leaf.nbytes <= ON_HOST:
        return _pair(np.asarray(leaf), np)
    mesh = leaf.sharding.mesh if isinstance(leaf.sharding, NamedSharding) else None
    return _compiled(mesh)(leaf)


@functools.cache
def _compiled(mesh: Any) -> Any:
    everywhere = None if mesh is None else NamedSharding(mesh, P())
    return jax.jit(functools.partial(_pair, xp=jnp), out_shardings=everywhere)


def _pair(x: Any, xp: Any) -> Any:
    """Both sums; the same by numpy and by jax.numpy."""
    words = _words(x.reshape(1) if x.ndim == 0 else x, xp)
    place, stride = xp.zeros((1,) * words.ndim, xp.uint32), 1
    for axis in reversed(range(words.ndim)):
        shape = [1] * words.ndim
        shape[axis] = -1
        steps = xp.arange(words.shape[axis], dtype=xp.uint32) * xp.uint32(stride % 2**32)
        place, stride = place + steps.reshape(shape), stride * words.shape[axis]
    one, two = xp.uint32(1), xp.uint32(2)
    factors = [two * _mixed(place + xp.uint32(shift), xp) + one for shift in (0, 2**31)]
    return xp.stack([(words * factor).sum(dtype=xp.uint32) for factor in factors])


def _words(x: Any, xp: Any) -> Any:
    """The bits of each element as unsigned numbers of 32 bits; a 64-bit element is two of them, along a last axis."""
    size = np.dtype(x.dtype).itemsize
    if x.dtype == bool:
        return x.astype(xp.uint32)
    unsigned = np.dtype(f"uint{8 * min(size, 4)}")
    if xp is np:
        x = np.ascontiguousarray(x)
        shape = (*x.shape, size // 4) if size > 4 else x.shape
        return x.reshape(math.prod(x.shape)).view(unsigned).reshape(shape).astype(np.uint32)
    return lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)


def _mixed(place: Any, xp: Any) -> Any:
    place = (place ^ (place >> xp.uint32(16))) * xp.uint32(0x85EBCA6B)
    place = (place ^ (place >> xp.uint32(13))) * xp.uint32(0xC2B2AE35)
    return place ^ (place >> xp.uint32(16))
