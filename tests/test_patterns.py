"""Attention patterns: each is its dense mask, at once and step by step, without a matrix of all pairs."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import Dense, Fixed, Full, InputError, Local, Rectangle, Strided
from gen_jax.ops import attention
from gen_jax.ops.patterns import Memory, reach

pytestmark = pytest.mark.usefixtures("x64")
B, N, K, V = 2, 3, 4, 5
# Whether t reads u <= t, by definition; in sequences of 12 positions, or of 15, which no block divides.
PAIRS = {
    Dense(): lambda t, u: True,
    Local(4): lambda t, u: t - u < 4,
    Local(1): lambda t, u: t == u,
    Local(20): lambda t, u: t - u < 20,
    Strided(4): lambda t, u: (t - u) % 4 == 0,
    Strided(20): lambda t, u: t == u,
    Fixed(4, 2): lambda t, u: t // 4 == u // 4 or u % 4 in (2, 3),
    Fixed(4, 4): lambda t, u: True,
}
CASES = [(pattern, length) for pattern in PAIRS for length in (12, 15)]
PLANE = Rectangle(height=4, width=6, rows=2, columns=3, above=1, side=2)
BLOCKS = Rectangle(height=1, width=12, rows=1, columns=4, above=0, side=4)
EVERY = [*((pattern, 15) for pattern in PAIRS), (PLANE, 24), (BLOCKS, 12)]


@functools.cache
def inputs(length):
    rng = np.random.default_rng(length)
    return [jnp.asarray(rng.normal(size=(B, N, length, size))) for size in (K, K, V)]


def masked(query, key, value, allowed, xp=np):
    """Softmax over all pairs, the closed ones at zero."""
    scores = query @ xp.swapaxes(key, 2, 3) / query.shape[-1] ** 0.5
    weights = xp.exp(scores - scores.max(axis=-1, keepdims=True)) * allowed
    return weights / weights.sum(axis=-1, keepdims=True) @ value


def stepped(pattern, query, key, value):
    """Every position from what the steps before have kept."""
    length = query.shape[2]

    def body(memory, inputs):
        time, query, key, value = inputs
        memory = pattern.write(memory, key, value, time)
        return memory, pattern.read_site(query, memory, time)

    parts = pattern.parts(length)
    memory = Memory(*(tuple(jnp.zeros((B, N, part, size)) for part in parts) for size in (K, V)))
    times = [jnp.moveaxis(x, 2, 0) for x in (query, key, value)]
    return jnp.moveaxis(jax.lax.scan(body, memory, (jnp.arange(length), *times))[1], 0, 2)


@pytest.mark.parametrize(("pattern", "length"), CASES, ids=str)
def test_the_pairs_are_those_of_the_definition(pattern, length):
    pairs = [[u <= t and PAIRS[pattern](t, u) for u in range(length)] for t in range(length)]
    np.testing.assert_array_equal(pattern.allowed(length), pairs)


def test_a_rectangle_is_counted_place_by_place():
    """Its positions go tile by tile; each reads those before it up to one row above and two columns beside its tile."""
    tiles = [(0, 0), (0, 3), (2, 0), (2, 3)]
    places = [(top + r, left + c) for top, left in tiles for r in range(2) for c in range(3)]
    for t, (row, column) in enumerate(places):
        top, left = row - row % 2, column - column % 3
        for u, (r, c) in enumerate(places):
            inside = top - 1 <= r < top + 2 and left - 2 <= c < left + 5
            assert PLANE.allowed(24)[t, u] == (inside and u <= t)


def test_a_plane_of_one_row_is_blocks_that_read_the_block_before():
    t, u = np.indices((12, 12))
    np.testing.assert_array_equal(BLOCKS.allowed(12), (u <= t) & (t // 4 - u // 4 <= 1))


@pytest.mark.parametrize(("pattern", "length"), [*EVERY, (Full(), 12)], ids=str)
def test_reading_is_the_dense_mask(pattern, length):
    expected = masked(*map(np.asarray, inputs(length)), pattern.allowed(length))
    found = jax.jit(pattern.read)(*inputs(length))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pattern", [Local(5), Strided(5), Fixed(5, 2)], ids=str)
def test_gradients_are_those_of_the_dense_mask(pattern):
    def slopes(read):
        return jax.jit(jax.grad(lambda *x: jnp.sum(jnp.sin(read(*x))), (0, 1, 2)))(*inputs(13))

    dense = functools.partial(masked, allowed=pattern.allowed(13), xp=jnp)
    for one, other in zip(slopes(pattern.read), slopes(dense), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("pattern", "length"), EVERY, ids=str)
def test_steps_are_the_dense_mask(pattern, length):
    expected = masked(*map(np.asarray, inputs(length)), pattern.allowed(length))
    found = jax.jit(functools.partial(stepped, pattern))(*inputs(length))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@dataclass(frozen=True)
class Parted(Dense):
    """Parts of a short memory, as of a long one."""

    def parts(self, length):
        return (4, 4, 4, 4)


@pytest.mark.parametrize("length", [12, 15])
def test_a_memory_in_parts_is_one(length):
    test_steps_are_the_dense_mask(Parted(), length)
    assert Dense().parts(256) == (256,)
    assert Dense().parts(784) == (196,) * 4
    assert Dense().parts(3072) == (768,) * 4


@pytest.mark.parametrize(
    ("pattern", "slots"), [(Local(16), 16), (Strided(16), 256), (Fixed(16, 2), 16 + 2 * 16)]
)
def test_no_array_holds_all_pairs(pattern, slots):
    """With L = 256 and l = 16, gradients included. A step keeps a ring, or columns, or a block and summaries."""
    length = 256
    x = [jax.ShapeDtypeStruct((1, 1, length, 2), jnp.float32)] * 3

    def gradient(pattern):
        slope = jax.grad(lambda *x: jnp.sum(pattern.read(*x)), (0, 1, 2))
        return jax.make_jaxpr(slope)(*x).jaxpr

    assert largest(gradient(pattern)) <= length * 32 < largest(gradient(Dense()))
    assert pattern.slots(length) == slots


def largest(jaxpr):
    """Size of the largest array in a program."""
    sizes = [var.aval.size for eqn in jaxpr.eqns for var in eqn.outvars]
    inner = [eqn.params["jaxpr"] for eqn in jaxpr.eqns if "jaxpr" in eqn.params]
    return max([*sizes, *(largest(getattr(sub, "jaxpr", sub)) for sub in inner)], default=0)


@dataclass(frozen=True)
class Wide(Local):
    """The planted bug: it reads and keeps one position more than it says."""

    def read(self, query, key, value):
        return Local(self.length + 1).read(query, key, value)

    def slots(self, length):
        return self.length + 1


def test_a_pattern_one_position_too_wide_is_caught():
    for test in (test_reading_is_the_dense_mask, test_steps_are_the_dense_mask):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            test(Wide(4), 12)


@pytest.mark.parametrize(
    "period",
    [(Strided(4), Local(4)), (Local(4), Strided(4)), (Fixed(4, 1),) * 2, (Strided(4), *3 * [Local(4)])],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("length", [12, 13])
def test_a_period_reaches_everything_earlier(period, length):
    np.testing.assert_array_equal(reach(period, len(period), length), np.tri(length))


def test_one_layer_or_a_stride_that_is_longer_does_not_reach_everything():
    assert not np.array_equal(reach((Local(4),), 1, 12), np.tri(12))
    np.testing.assert_array_equal(reach((Local(4),), 3, 12), Local(10).allowed(12))
    assert not np.array_equal(reach((Strided(6), Local(4)), 2, 12), np.tri(12))


@pytest.mark.parametrize(("layers", "pairs"), [(1, 1168), (2, 1984), (8, 1984)])
def test_the_context_of_tiles(layers, pairs):
    """On 8x8 with tiles of 4x4, 32 of 2,016 pairs are never seen: t sees the value of u < t by position u + 1."""
    tiles = Rectangle(8, 8, 4, 4, above=2, side=2)
    assert reach((tiles,), layers, 64)[:, 1:].sum() == pairs


@pytest.mark.parametrize("window", [None, 5])
def test_the_kernel_of_a_library_reads_the_same_pairs(window):
    """By its plain form, which runs anywhere, in float32; a GPU takes cuDNN's."""
    query, key, _ = inputs(13)
    pattern = Dense() if window is None else Local(window)
    found = attention.one_kernel(query, key, key, window, by="xla")
    np.testing.assert_allclose(found, pattern.read(query, key, key), rtol=1e-5, atol=1e-6)


def test_only_a_gpu_takes_the_kernel_and_where_it_can(monkeypatch):
    """Half precision, keys and values of the same width, a multiple of 8."""
    half = lambda size: jnp.zeros((1, 1, 2, size), jnp.bfloat16)  # noqa: E731
    assert not attention.in_one_kernel(half(16), half(16))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert attention.in_one_kernel(half(16), half(16))
    for query, value in ((half(16), half(32)), (half(4), half(4)), (jnp.zeros((1, 1, 2, 16)),) * 2):
        assert not attention.in_one_kernel(query, value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Local(0), "a length of at least 1"),
        (lambda: Strided(0), "a stride of at least 1"),
        (lambda: Fixed(4, 5), "a summary of at least 1 and at most"),
        (lambda: Rectangle(4, 4, 3, 2, 1, 1), "do not cover a plane of 4x4"),
        (lambda: Rectangle(4, 4, 2, 2, -1, 1), "at least 0"),
        (lambda: Full().slots(4), "has no steps"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()
