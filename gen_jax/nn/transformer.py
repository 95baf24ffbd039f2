"""Transformers: blocks of attention and a map of each position, and stacks of blocks that share one compiled body.

h <- h + A(n(h)), h <- h + M(n(h)) with multi-head attention A, M(h) = W2 f(W1 h) and a normalisation n (Vaswani et al.
2017, 1706.03762; before the branches as in Child et al. 2019, 1904.10509, section 5.2; or h <- n(h + A(h)) as in the
former). All modules take `time`: None is all positions (B L F); at a time h is that of one position (B F), and
attention keeps keys and values of the positions so far in the collection `cache`.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_jax.nn.blocks import show_repeated
from gen_jax.nn.conv import Dense, in_one_product
from gen_jax.nn.repeated import through
from gen_jax.ops.patterns import Memory, Parts, Pattern
from gen_jax.typing import Dtype

Time = Int[Array, ""] | None
Initializer = nn.initializers.Initializer


class Initial(NamedTuple):
    """Initial kernels: of queries and keys, of values, of attention's output, and of the two maps W1 and W2."""

    query_key: Initializer = nn.initializers.lecun_normal()
    value: Initializer = nn.initializers.lecun_normal()
    out: Initializer = nn.initializers.lecun_normal()
    up: Initializer = nn.initializers.lecun_normal()
    down: Initializer = nn.initializers.lecun_normal()


class Attention(nn.Module):
    """Attention of several heads: `key_features` and `value_features` are those of all heads together."""

    pattern: Pattern
    length: int
    heads: int
    key_features: int
    value_features: int
    use_bias: bool = True
    initial: Initial = Initial()
    dtype: Dtype = None

    @nn.compact
    def __call__(self, h: Float[Array, "B *L F"], time: Time = None) -> Float[Array, "B *L F"]:
        F, options = h.shape[-1], {"use_bias": self.use_bias, "dtype": self.dtype}
        maps = [
            Dense(features, kernel_init=init, name=name, **options)
            for name, features, init in (
                ("query", self.key_features, self.initial.query_key),
                ("key", self.key_features, self.initial.query_key),
                ("value", self.value_features, self.initial.value),
            )
        ]
        if time is None:
            query, key, value = (self.split(linear(h)) for linear in maps)
            mean = jnp.swapaxes(self.pattern.read(query, key, value), 1, 2)
        else:
            query, key, value = map(self.split, in_one_product(maps, h))
            mean = self.pattern.read_site(query, self.kept(key, value, time), time)
        mean = mean.reshape(*h.shape[:-1], -1)
        return Dense(F, kernel_init=self.initial.out, name="out", **options)(mean)

    def split(self, x: Float[Array, "B *L X"]) -> Float[Array, "B N *L x"]:
        """Features by heads."""
        x = x.reshape(*x.shape[:-1], self.heads, -1)
        return x if x.ndim == 3 else jnp.swapaxes(x, 1, 2)

    def kept(
        self, key: Float[Array, "B N K"], value: Float[Array, "B N V"], time: Int[Array, ""]
    ) -> Memory:
        """Keys and values of the positions so far, this one included."""
        parts = self.pattern.parts(self.length)

        def empty(x: Float[Array, "B N d"]) -> Parts:
            return tuple(jnp.zeros((*x.shape[:2], part, x.shape[2]), x.dtype) for part in parts)

        memory = self.variable("cache", "memory", lambda: Memory(empty(key), empty(value)))
        memory.value = self.pattern.write(memory.value, key, value, time)
        return memory.value


class Block(nn.Module):
    """Attention and the map M, each in a residual branch with dropout at its end.

    `norm` is layer normalisation or, without mean and bias, by the root mean square; it stands before ("pre") the
    branch or after ("post") the sum. Without `key_features` and `value_features` queries, keys and values are as wide
    as h.
    """

    pattern: Pattern
    length: int
    heads: int
    inner: int
    key_features: int | None = None
    value_features: int | None = None
    norm: Literal["layer", "rms"] = "layer"
    where: Literal["pre", "post"] = "pre"
    epsilon: float = 1e-5
    use_bias: bool = True
    activation: Callable[[Array], Array] = nn.gelu
    dropout: float = 0.0
    initial: Initial = Initial()
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, h: Float[Array, "B *L F"], time: Time = None, train: bool = False
    ) -> Float[Array, "B *L F"]:
        F, options = h.shape[-1], {"use_bias": self.use_bias, "dtype": self.dtype}
        attention = Attention(
            self.pattern,
            self.length,
            self.heads,
            F if self.key_features is None else self.key_features,
            F if self.value_features is None else self.value_features,
            initial=self.initial,
            name="attention",
            **options,
        )
        up = Dense(self.inner, kernel_init=self.initial.up, name="up", **options)
        down = Dense(F, kernel_init=self.initial.down, name="down", **options)
        branches = (lambda x: attention(x, time)), (lambda x: down(self.activation(up(x))))
        kind = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}[self.norm]
        for name, branch in zip(("attention_norm", "map_norm"), branches, strict=True):
            norm = kind(self.epsilon, dtype=self.dtype, name=name)
            y = branch(norm(h) if self.where == "pre" else h)
            h = h + nn.Dropout(self.dropout)(y, deterministic=not train)
            h = h if self.where == "pre" else norm(h)
        return h


class Period(nn.Module):
    """A block for each pattern."""

    block: Callable[..., nn.Module]
    patterns: tuple[Pattern, ...]
    train: bool = False

    @nn.compact
    def __call__(
        self, h: Float[Array, "B *L F"], time: Time = None
    ) -> tuple[Float[Array, "B *L F"], None]:
        for i, pattern in enumerate(self.patterns):
            h = self.block(pattern=pattern, name=f"block_{i}")(h, time, train=self.train)
            show_repeated(self, _normalised(h))
        return h, None


class Stack(nn.Module):
    """`layers` blocks, whose patterns repeat; `layers` must be a multiple of their number.

    The periods are one body under a scan, so their parameters have a leading axis. `remat` keeps only the input of each
    period for the gradient. `block(pattern=..., name=...)` makes a `Block`.
    """

    block: Callable[..., nn.Module]
    patterns: tuple[Pattern, ...]
    layers: int
    remat: bool = False

    @nn.compact
    def __call__(
        self, h: Float[Array, "B *L F"], time: Time = None, train: bool = False
    ) -> Float[Array, "B *L F"]:
        periods = self.layers // len(self.patterns)
        period = Period(self.block, self.patterns, train, name="periods")
        one = lambda period, h: period(h, time)  # noqa: E731
        h, _ = through(period, periods, one, h, remat=self.remat, steps=time is not None)
        return h


def _normalised(h: Float[Array, "*batch F"]) -> Float[Array, "*batch F"]:
    """h as a next block would read it, but for its gain: h over the root of its mean square."""
    return h / jnp.sqrt(jnp.mean(h**2, axis=-1, keepdims=True) + 1e-5)


def quick_gelu(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """x sigma(1.702 x)."""
    return x * nn.sigmoid(1.702 * x)
