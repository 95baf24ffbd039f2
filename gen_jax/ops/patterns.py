"""Which positions a position of a sequence reads: attention patterns as values.

Position t reads itself and earlier positions of an input that was shifted by one, so it sees values before t only; no
row is empty. `allowed` has the pairs as a dense matrix, which is the oracle. `read` takes all positions at once by
reshaping, without that matrix. `slots`, `write` and `read_site` are what a step keeps and reads. Arrays are (batch,
heads, positions, features); in steps (batch, heads, slots, features).

Local, strided and fixed: Child, Gray, Radford and Sutskever 2019, 1904.10509, sections 4.2 and 4.3. On a GPU and in
half precision dense and local attention are one kernel. `rectangle.py` has the pattern of the Image Transformer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_jax.errors import InputError
from gen_jax.ops import attention
from gen_jax.ops.loops import once

Keys = Float[Array, "B N L K"]
Values = Float[Array, "B N L V"]
Slots = Float[Array, "B N _slots _d"]
Parts = tuple[Slots, ...]


class Memory(NamedTuple):
    """The keys and the values that a step keeps, each in one or more arrays."""

    keys: Parts
    values: Parts


@dataclass(frozen=True)
class Pattern:
    """What position t reads. Steps keep a memory of keys and values."""

    def allowed(self, length: int) -> Bool[np.ndarray, "L L"]:
        """Entry [t, u]: whether position t reads position u."""
        raise TypeError(f"{type(self).__name__} does not define what it allows")

    def read(self, query: Keys, key: Keys, value: Values) -> Values:
        """The means of all positions."""
        raise TypeError(f"{type(self).__name__} does not define how it reads")

    def refusal(self, length: int) -> str | None:
        """Say why sequences of this length cannot be read so; None where they can."""
        del length

    def slots(self, length: int) -> int:
        """How many keys and values a step keeps."""
        return length

    def parts(self, length: int) -> tuple[int, ...]:
        """The slots of each array of a memory."""
        return (self.slots(length),)

    def places(self, time: Int[Array, ""], slots: int) -> tuple[Int[Array, ""], ...]:
        """The slots in which the key and the value of a time are kept."""
        del slots
        return (time,)

    def recall(self, slots: Slots, time: Int[Array, ""]) -> Float[Array, "B N m _d"]:
        """The slots among which a time reads."""
        del time
        return slots

    def open(self, time: Int[Array, ""], slots: int) -> Bool[Array, " m"]:
        """Which of the slots of `recall` a time reads."""
        return jnp.arange(slots) <= time

    def write(
        self,
        memory: Memory,
        key: Float[Array, "B N K"],
        value: Float[Array, "B N V"],
        time: Int[Array, ""],
    ) -> Memory:
        """Keep the key and the value of a time."""

        def kept(parts: Parts, new: Float[Array, "B N _d"]) -> Parts:
            [slots] = parts
            for slot in self.places(time, slots.shape[2]):
                slots = lax.dynamic_update_slice_in_dim(slots, new[:, :, None], slot, axis=2)
            return (slots,)

        return Memory(kept(memory.keys, key), kept(memory.values, value))

    def read_site(
        self, query: Float[Array, "B N K"], memory: Memory, time: Int[Array, ""]
    ) -> Float[Array, "B N V"]:
        """The mean of one position, whose key and value have been written."""
        (keys,), (values,) = memory
        read = self.open(time, keys.shape[2])
        key, value = self.recall(keys, time), self.recall(values, time)
        return attention.attend(query[:, :, None], key, value, read[None])[:, :, 0]


@dataclass(frozen=True)
class Dense(Pattern):
    """Position t reads 0, ..., t. Long memories are in four parts, of which a step reads those that hold something."""

    def allowed(self, length: int) -> Bool[np.ndarray, "L L"]:
        return np.tri(length, dtype=bool)

    def read(self, query: Keys, key: Keys, value: Values) -> Values:
        if attention.in_one_kernel(query, value):
            return attention.one_kernel(query, key, value)
        return attention.causal_attention(query, key, value, inclusive=True)

    def parts(self, length: int) -> tuple[int, ...]:
        """Up to four, equal, of about 256 slots or more."""
        count = min(4, -(-length // 256))
        return (-(-length // count),) * count

    def write(
        self,
        memory: Memory,
        key: Float[Array, "B N K"],
        value: Float[Array, "B N V"],
        time: Int[Array, ""],
    ) -> Memory:
        part, slot = jnp.divmod(time, memory.keys[0].shape[2])

        def updated(number: int, kept: Slots, new: Float[Array, "B N _d"]) -> Slots:
            before = lax.dynamic_slice_in_dim(kept, slot, 1, axis=2)
            new = jnp.where(part == number, new[:, :, None], before)
            return lax.dynamic_update_slice_in_dim(kept, new, slot, axis=2)

        def written(parts: Parts, new: Float[Array, "B N _d"]) -> Parts:
            return tuple(updated(number, kept, new) for number, kept in enumerate(parts))

        def both(memory: Memory) -> Memory:
            return Memory(written(memory.keys, key), written(memory.values, value))

        # `once`, or XLA would read the memory as it was, too, and copy it in order to write.
        return once(time >= 0, both, memory)

    def read_site(
        self, query: Float[Array, "B N K"], memory: Memory, time: Int[Array, ""]
    ) -> Float[Array, "B N V"]:
        size = memory.keys[0].shape[2]

        def up_to(parts: int) -> Callable[..., Float[Array, "B N 1 V"]]:
            def mean(query: Array, memory: Memory) -> Float[Array, "B N 1 V"]:
                read = jnp.arange(parts * size) <= time
                keys, values = memory.keys[:parts], memory.values[:parts]
                return attention.attend_parts(query, keys, values, read)

            return mean

        branches = [up_to(parts) for parts in range(1, len(memory.keys) + 1)]
        return lax.switch(time // size, branches, query[:, :, None], memory)[:, :, 0]


@dataclass(frozen=True)
class Full(Pattern):
    """Every position reads all of them: for networks that do not generate, so it has no steps."""

    def allowed(self, length: int) -> Bool[np.ndarray, "L L"]:
        return np.ones((length, length), bool)

    def read(self, query: Keys, key: Keys, value: Values) -> Values:
        return attention.full_attention(query, key, value)

    def slots(self, length: int) -> int:
        """None; InputError, since a position reads later ones."""
        raise InputError("full attention reads later positions: it has no steps")


@dataclass(frozen=True)
class Local(Pattern):
    """Position t reads t - l + 1, ..., t. Memory grows as L l; a step keeps a ring of l."""

    length: int

    def __post_init__(self):
        require(self.length >= 1, "local attention needs a length of at least 1")

    def allowed(self, length: int) -> Bool[np.ndarray, "L L"]:
        apart = apart_by(length)
        return (apart >= 0) & (apart < self.length)

    def read(self, query: Keys, key: Keys, value: Values) -> Values:
        """Each block of l positions against itself and the block before."""
        if attention.in_one_kernel(query, value):
            return attention.one_kernel(query, key, value, self.length)
        length, size = query.shape[2], self.length
        query, key, value = (blocks(x, size) for x in (query, key, value))
        key, value = (_with_block_before(x) for x in (key, value))
        ahead = jnp.arange(2 * size) - jnp.arange(size)[:, None]
        near = (ahead > 0) & (ahead <= size)
        first = jnp.arange(query.shape[2])[:, None, None] == 0
        exists = ~first | (jnp.arange(2 * size) >= size)
        return joined(attention.attend(query, key, value, near & exists), length)

    def slots(self, length: int) -> int:
        return min(self.length, length)

    def places(self, time: Int[Array, ""], slots: int) -> tuple[Int[Array, ""], ...]:
        return (time % slots,)


@dataclass(frozen=True)
class Strided(Pattern):
    """Position t reads t, t - l, t - 2 l, ... Memory grows as L^2 / l; a step reads L / l of the slots in a row."""

    stride: int

    def __post_init__(self):
        require(self.stride >= 1, "strided attention needs a stride of at least 1")

    def allowed(self, length: int) -> Bool[np.ndarray, "L L"]:
        apart = apart_by(length)
        return (apart >= 0) & (apart % self.stride == 0)

    def read(self, query: Keys, key: Keys, value: Values) -> Values:
        """Dense attention in each of the l columns."""
        length = query.shape[2]
        query, key, value = (
            jnp.swapaxes(blocks(x, self.stride), 2, 3) for x in (query, key, value)
        )
        mean = attention.causal_attention(query, key, value, inclusive=True)
        return joined(jnp.swapaxes(mean, 2, 3), length)

    def slots(self, length: int) -> int:
        return self.stride * -(-length // self.stride)

    def places(self, time: Int[Array, ""], slots: int) -> tuple[Int[Array, ""], ...]:
        """Column after column."""
        return (time % self.stride * (slots // self.stride) + time // self.stride,)

    def write(
        self,
        memory: Memory,
        key: Float[Array, "B N K"],
        value: Float[Array, "B N V"],
        time: Int[Array, ""],
    ) -> Memory:
        # `once`, or XLA would write while it cuts the column, which takes a copy of the memory as it was.
        write = super().write
        return once(time >= 0, lambda memory: write(memory, key, value, time), memory)

    def recall(self, slots: Slots, time: Int[Array, ""]) -> Float[Array, "B N m _d"]:
        rows = slots.shape[2] // self.stride
        return lax.dynamic_slice_in_dim(slots, time % self.stride * rows, rows, axis=2)

    def open(self, time: Int[Array, ""], slots: int) -> Bool[Array, " m"]:
        return jnp.arange(slots // self.stride) <= time // self.stride


@dataclass(frozen=True)
class Fixed(Pattern):
    """Position t reads its block of l up to itself and the last c positions of every earlier block.

    The paper's two steps merged in one head, all heads with the same columns. Memory grows as L l + L^2 c / l; a step
    keeps a block and all summaries.
    """

    length: int
    summary: int

    def __post_init__(self):
        require(
            1 <= self.summary <= self.length,
            "fixed attention needs a summary of at least 1 and at most the block's length",
        )

    def allowed(self, length: int) -> Bool[np.ndarray, "L L"]:
        block, within = np.divmod(np.arange(length), self.length)
        own = block[:, None] == block
        summary = (block[:, None] > block) & (within >= self.length - self.summary)
        return (own | summary) & (apart_by(length) >= 0)

    def read(self, query: Keys, key: Keys, value: Values) -> Values:
        """Each block against itself, all positions against the summaries."""
        length = query.shape[2]
        query, key, value = (blocks(x, self.length) for x in (query, key, value))
        own = attention.partial_attention(query, key, value, jnp.tri(self.length, dtype=bool))
        key, value = (x[..., -self.summary :, :] for x in (key, value))
        key, value = (x.reshape(*x.shape[:2], -1, x.shape[-1]) for x in (key, value))
        block, count = jnp.arange(query.shape[2]), query.shape[2]
        earlier = jnp.repeat(block, self.length)[:, None] > jnp.repeat(block, self.summary)
        flat = query.reshape(*query.shape[:2], -1, query.shape[-1])
        rest = attention.partial_attention(flat, key, value, earlier)
        rest = jax.tree.map(lambda x: x.reshape(*x.shape[:2], count, -1, x.shape[-1]), rest)
        mean = attention.normalised(attention.merged(own, rest)).astype(value.dtype)
        return joined(mean, length)

    def slots(self, length: int) -> int:
        return self.length + self.summary * -(-length // self.length)

    def places(self, time: Int[Array, ""], slots: int) -> tuple[Int[Array, ""], ...]:
        """In the block, and where the position is one of a summary there too; else once more in the block."""
        block, within = jnp.divmod(time, self.length)
        place = within - (self.length - self.summary)
        summary = self.length + block * self.summary + place
        return within, jnp.where(place >= 0, summary, within)

    def open(self, time: Int[Array, ""], slots: int) -> Bool[Array, " m"]:
        block, within = jnp.divmod(time, self.length)
        slot = jnp.arange(slots)
        summary = (slot - self.length) // self.summary < block
        return jnp.where(slot < self.length, slot <= within, summary)


@lru_cache(32)
def reach(patterns: tuple[Pattern, ...], layers: int, length: int) -> Bool[np.ndarray, "L L"]:
    """Entry [t, u]: whether position t depends on position u through layers that take the patterns in turn."""
    reached = np.eye(length, dtype=np.float32)
    for layer in range(layers):
        step = patterns[layer % len(patterns)].allowed(length).astype(np.float32)
        after = np.minimum(step @ reached, 1)
        if layer >= len(patterns) and np.array_equal(np.tri(length), after):
            return after > 0  # everything earlier is reached, and stays so
        reached = after
    return reached > 0


def require(condition: bool, text: str) -> None:
    """InputError with the text unless the condition holds."""
    if not condition:
        raise InputError(text)


def apart_by(length: int) -> Int[np.ndarray, "L L"]:
    """t - u."""
    return np.arange(length)[:, None] - np.arange(length)


def blocks(x: Keys, size: int) -> Float[Array, "B N blocks size K"]:
    """Positions in blocks, the last one filled up with zeros, which lie after every position."""
    batch, heads, length, features = x.shape
    x = jnp.pad(x, ((0, 0), (0, 0), (0, -length % size), (0, 0)))
    return x.reshape(batch, heads, -1, size, features)


def joined(x: Float[Array, "B N blocks size K"], length: int) -> Keys:
    """The inverse of `blocks`."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])[:, :, :length]


def _with_block_before(
    x: Float[Array, "B N blocks size K"],
) -> Float[Array, "B N blocks two_size K"]:
    before = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0), (0, 0)))[:, :, :-1]
    return jnp.concatenate([before, x], axis=3)
