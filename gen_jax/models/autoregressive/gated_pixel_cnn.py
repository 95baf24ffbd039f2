"""Gated PixelCNN: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, R then G then B in a pixel.

Two stacks of masked convolutions without a blind spot, y = tanh(W_f * x + V_f y) . sigma(W_g * x + V_g y), residual
and skip connections in the horizontal stack, conditioned on a class or a vector (van den Oord, Kalchbrenner, Vinyals,
Espeholt, Graves and Kavukcuoglu 2016, 1606.05328).
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from gen_jax.errors import InputError
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.causal_conv import HorizontalConv
from gen_jax.nn.gated import GatedLayer
from gen_jax.nn.once import once
from gen_jax.ops.masks import put_group
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype, Event


class Cache(NamedTuple):
    """What stepping keeps: the padded image, and for each layer the rows above, the row's terms and the row so far."""

    image: Float[Array, "B rows_H columns_W C"]
    rows: tuple[Float[Array, "B rows W F"], ...]
    terms: tuple[Float[Array, "W B two_F"], ...]
    row: tuple[Float[Array, "columns_W B F"], ...]
    gates: tuple[Float[Array, "B F"], ...]
    skip: Float[Array, "B F"]
    hidden: Float[Array, "B head_F"]
    cond: Any


class GatedPixelCNN(Autoregressive):
    """Images (H, W, C) of any number of levels; the features split into C groups, so C must divide them.

    Where `vector` > 0 the condition of an example is a vector of so many numbers instead of a class. Where `embedding`
    > 0 the levels are symbols without an order, such as codes: each enters as a learned vector of so many numbers.
    """

    system: ClassVar[str] = "gated_pixel_cnn"

    num_classes: int = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    vector: int = 0
    depth: int = 5
    features: int = 64
    first_kernel: int = 7
    kernel: int = 3
    head_features: int = 64
    dropout: float = 0.0
    embedding: int = 0
    dtype: Dtype = None

    def setup(self):
        """Declare the layers and the two 1x1 convolutions of the head; InputError on sizes that cannot work."""
        if len(self.event.shape) != 3:
            raise InputError(
                f"gated_pixel_cnn is a model of images (H, W, C), not of {self.event.shape}"
            )
        if (
            min(self.depth, self.kernel) < 1
            or self.kernel % 2 == 0
            or self.first_kernel % 2 == 0
            or self.first_kernel < 3
        ):
            raise InputError("gated_pixel_cnn needs depth >= 1 and odd kernels, the first one >= 3")
        if min(self.features, self.head_features) < 1 or not 0 <= self.dropout < 1:
            raise InputError(
                "gated_pixel_cnn needs features >= 1, head_features >= 1 and dropout in [0, 1)"
            )
        if self.num_classes and self.vector:
            raise InputError("gated_pixel_cnn is conditioned on a class or a vector, not on both")
        if self.features % self.groups or self.head_features % self.groups:
            raise InputError(
                f"gated_pixel_cnn needs features ({self.features}) and head_features ({self.head_features}) divisible"
                f" by the {self.groups} channels"
            )
        self.layers = [
            GatedLayer(
                self.features,
                self.kernel if i else self.first_kernel,
                self.groups,
                first=i == 0,
                conditional=bool(self.num_classes or self.vector),
                dropout=self.dropout,
                dtype=self.dtype,
            )
            for i in range(self.depth)
        ]
        if self.embedding:
            self.embed = nn.Embed(self.levels, self.embedding, param_dtype=jnp.result_type(float))
        outputs = self.groups * self.head.size
        self.hidden = HorizontalConv(self.head_features, 1, self.groups, dtype=self.dtype)
        self.logits = HorizontalConv(outputs, 1, self.groups, dtype=self.dtype)

    @property
    def takes_reals(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Symbols have nothing between them."""
        return not self.embedding

    @property
    def condition(self) -> Event | None:
        """The vector, if any."""
        return Event((self.vector,)) if self.vector else None

    @property
    def groups(self) -> int:
        """Channels that see each other in order."""
        return self.event.shape[-1]

    def __call__(
        self,
        x: Num[Array, "B H W C"],
        cond: Num[Array, "B *K"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B sites P"]:
        """Parameters of every sub-pixel's distribution, all at once."""
        cond = self._condition(cond)
        v = h = self._entered(x)
        first, *deep = self.layers
        v, h, skips = first(v, h, cond, train)
        for layer in deep:
            v, h, skip = layer(v, h, cond, train)
            skips = skips + skip
        params = self.logits(nn.relu(self.hidden(nn.relu(skips))))
        return params.reshape(x.shape[0], self.num_sites, -1)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """A rectangle above, a row to the left, and the earlier channels of the pixel: no blind spot."""
        H, W, C = self.event.shape
        row, column, channel = np.unravel_index(site, (H, W, C))
        reach = self.first_kernel // 2 + (self.depth - 1) * (self.kernel // 2)
        r, c, g = np.indices((H, W, C))
        above = (r < row) & (r >= row - reach) & (abs(c - column) <= reach)
        left = (r == row) & (c < column) & (c >= column - reach)
        own = (r == row) & (c == column) & (g < channel)
        return (above | left | own).reshape(-1)

    def init_cache(self, n: int, cond: Num[Array, "n *K"] | None = None) -> Cache:
        """Zeros: what the parallel form pads with."""
        H, W, C = self.event.shape
        F, first = self.features, self.layers[0]
        dtype = jnp.dtype(self.dtype) if self.dtype is not None else jnp.result_type(float)
        deep = self.layers[1:]
        return Cache(
            image=jnp.zeros(
                (n, first.rows + H, self.first_kernel // 2 + W, C * (self.embedding or 1))
            ),
            rows=tuple(jnp.zeros((n, layer.rows - 1, W, F), dtype) for layer in deep),
            terms=tuple(jnp.zeros((W, n, 2 * F), dtype) for _ in self.layers),
            row=tuple(jnp.zeros((layer.columns - 1 + W, n, F), dtype) for layer in deep),
            gates=tuple(jnp.zeros((n, F), dtype) for _ in self.layers),
            skip=jnp.zeros((n, F), dtype),
            hidden=jnp.zeros((n, self.head_features), dtype),
            cond=self._condition(cond),
        )

    def begin_row(self, cache: Cache, row: Int[Array, ""], above: Any) -> tuple[tuple, tuple]:
        """The vertical stack of a whole row, given each layer's rows above: new `rows` and `terms`."""
        W, first = self.event.shape[1], self.layers[0]
        image = lax.dynamic_slice_in_dim(cache.image, row, first.rows, axis=1)[:, :, -W:]
        v, term = first.row(image, cache.cond)
        rows, terms = [], [term]
        for layer, kept in zip(self.layers[1:], above, strict=True):
            window = jnp.concatenate([kept, v[:, None].astype(kept.dtype)], axis=1)
            v, term = layer.row(window, cache.cond)
            rows.append(window[:, 1:])
            terms.append(term)
        cast = jax.tree.map(lambda new, old: new.astype(old.dtype), tuple(terms), cache.terms)
        return tuple(rows), cast

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """One sub-pixel: its group of features only; at the first of a row the vertical stack of the row."""
        row, column, group = self._place(site)
        rows, terms = once(
            lambda model, kept: model.begin_row(cache, row, kept[0]),
            self,
            (column == 0) & (group == 0),
            (cache.rows, cache.terms),
        )
        first = self.layers[0]
        window = lax.dynamic_slice_in_dim(cache.image, row + first.rows, 1, axis=1)[:, 0]
        window = lax.dynamic_slice_in_dim(window, column, first.columns, axis=1)
        gate, h, skips = first.site(window, terms[0], column, cache.gates[0], group)
        gates, kept = [gate], []
        deep = zip(self.layers[1:], cache.row, terms[1:], cache.gates[1:], strict=True)
        for layer, so_far, table, gate in deep:
            kept.append(self._put_site(so_far, h, column + layer.columns - 1, group))
            window = lax.dynamic_slice_in_dim(kept[-1], column, layer.columns, axis=0)
            gate, h, skip = layer.site(jnp.swapaxes(window, 0, 1), table, column, gate, group)
            gates.append(gate)
            skips = skips + skip
        skip = put_group(cache.skip, nn.relu(skips), group)
        hidden = put_group(cache.hidden, nn.relu(self.hidden.site(skip[:, None], group)), group)
        params = self.logits.site(hidden[:, None], group)
        cache = cache._replace(
            rows=rows, terms=terms, row=tuple(kept), gates=tuple(gates), skip=skip, hidden=hidden
        )
        return cache, params

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B 1"]) -> Cache:
        """Put the scaled or embedded value into the padded image."""
        row, column, group = self._place(site)
        entered = self._entered(value[:, None, None]).astype(cache.image.dtype)
        first = group * entered.shape[-1]
        start = (0, row + self.layers[0].rows, column + self.first_kernel // 2, first)
        return cache._replace(image=lax.dynamic_update_slice(cache.image, entered, start))

    def _entered(self, x):
        if not self.embedding:
            return to_symmetric(x, self.levels)
        vectors = self.embed(x.astype(jnp.int32))
        return vectors.reshape(*x.shape[:-1], -1)

    def _condition(self, cond):
        return nn.one_hot(cond, self.num_classes) if self.num_classes else cond

    def _place(self, site):
        _, W, C = self.event.shape
        return site // (W * C), site // C % W, site % C

    @staticmethod
    def _put_site(row, value, column, group):
        value = value.astype(row.dtype)[None]
        return lax.dynamic_update_slice(row, value, (column, 0, group * value.shape[-1]))
