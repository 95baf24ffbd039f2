"""Gated PixelCNN: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, R then G then B in a pixel.

Two stacks of masked convolutions, which together have no blind spot. Each layer is a gated unit, tanh(W_f * x + V_f y)
. sigma(W_g * x + V_g y), where y is what the image is conditioned on: a class, a vector, or a map with a vector at each
pixel. The horizontal stack has residual and skip connections (van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and
Kavukcuoglu 2016, 1606.05328).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float, Int, Num

from gen_jax.check import require, require_image
from gen_jax.conditions import Cond, parts_of
from gen_jax.models.autoregressive.raster import Raster
from gen_jax.nn.at import At, Row, halves_here, placed, spread
from gen_jax.nn.blocks import show
from gen_jax.nn.causal_conv import KERNEL_INIT, HorizontalConv
from gen_jax.nn.conditioning import Context, MapReader, Maps
from gen_jax.nn.conv import Dense, Embed
from gen_jax.ops.convolution import convolve
from gen_jax.ops.gates import gated_tanh
from gen_jax.typing import Dtype, Event

SMALL = nn.initializers.normal(0.01)


class VerticalConv(nn.Module):
    """Convolution over rows r-h+1..r, or rows r-h..r-1 if `strict`, and w columns around the site's.

    It needs no mask: the first layer is strict, so features at row r depend on rows above r only. At a row it is given
    the last row of its window, and keeps the others.
    """

    features: int
    height: int
    width: int
    strict: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*sites I"], at: Row | None = None
    ) -> Float[Array, "*sites O"]:
        shape = (self.height, self.width, x.shape[-1], self.features)
        kernel = self.param("kernel", KERNEL_INIT, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        columns = (self.width // 2, (self.width - 1) // 2)
        if at is None:
            rows = (self.height, -1) if self.strict else (self.height - 1, 0)
            return convolve(x, kernel, (rows, columns)) + bias
        above = self.variable("cache", "rows", jnp.zeros, (self.height - 1, *x.shape), x.dtype)
        rows = jnp.concatenate([above.value, x[None]])
        above.value = rows[1:]
        y = convolve(jnp.transpose(rows, (2, 0, 1, 3)), kernel, ((0, 0), columns))
        return jnp.swapaxes(y[:, 0], 0, 1) + bias


class GatedLayer(nn.Module):
    """One layer of the vertical stack v and the horizontal stack h (figure 2 and equation 4).

    v' = tanh(W_f * v) . sigma(W_g * v) over the rows above. h' = h + W (tanh(.) . sigma(.)) over the columns to the
    left; a 1x1 convolution of W * v is added before the gate. The first layer reads the image by mask A and has no
    residual. If `conditional`, V y is added before every gate, without bias, where y is a vector, a one-hot class or
    both side by side; if `mapped`, the same with the map's vector at the pixel. V is initialised near zero: an
    uninformative y would otherwise add noise to every gate and push training towards collapse.
    """

    features: int
    kernel: int
    groups: int
    first: bool = False
    conditional: bool = False
    mapped: bool = False
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        F, side, dtype = self.features, self.kernel // 2, self.dtype
        self.vertical = VerticalConv(2 * F, side + (not self.first), self.kernel, self.first, dtype)
        self.link = Dense(2 * F, dtype=dtype)
        self.horizontal = HorizontalConv(
            F, side + 1, self.groups, self.first, splits=2, dtype=dtype
        )
        self.out = HorizontalConv(F, 1, self.groups, splits=2, dtype=dtype)
        self.drop = nn.Dropout(self.dropout)
        if self.conditional:
            self.condition = Dense(4 * F, use_bias=False, kernel_init=SMALL, dtype=dtype)
        if self.mapped:
            self.map = Dense(4 * F, use_bias=False, kernel_init=SMALL, dtype=dtype)

    def above(
        self, v: Float[Array, "*sites I"], cond: Context, at: Row | None
    ) -> tuple[Float[Array, "*sites F"], Float[Array, "*sites two_F"]]:
        """v', and the term that is added before the gate of the horizontal stack."""
        a = self.vertical(v, at)
        b = self.link(a, at)
        if self.conditional:
            term = spread(self.condition(jnp.asarray(cond.vector, a.dtype)), at)
            to_vertical, to_horizontal = jnp.split(term, 2, axis=-1)
            a, b = a + to_vertical, b + to_horizontal
        if self.mapped:
            term = self.map(placed(cond.maps[0], at).astype(a.dtype))
            to_vertical, to_horizontal = jnp.split(term, 2, axis=-1)
            a, b = a + to_vertical, b + to_horizontal
        return gated_tanh(a), b

    def left(
        self,
        h: Float[Array, "*sites I"],
        term: Float[Array, "*row two_F"],
        train: bool,
        at: At,
    ) -> tuple[Float[Array, "*sites F"], Float[Array, "*sites F"]]:
        """h', and the layer's share of the skip connection."""
        gate = gated_tanh(self.horizontal(h, at), halves_here(term, at, self.groups))
        gate = self.drop(gate, deterministic=not train)
        residual, skip = jnp.split(self.out(gate, at), 2, axis=-1)
        return residual if self.first else h + residual, skip


class GatedPixelCNN(Raster):
    """Images (H, W, C) of any number of levels; the features are split into C groups, so C must divide them.

    `vector` > 0: each example is conditioned on a vector of this length. `maps`: it is conditioned on these images or
    grids of codes, whose sides divide its own and which `reader` reads. `embedding` > 0: the levels are symbols without
    an order, such as codes, and the network reads a learned vector of this length for each.
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
    maps: tuple[Event, ...] = ()
    reader: MapReader = MapReader(resolutions=1)

    def setup(self):
        self.check()
        self.layers = [
            GatedLayer(
                self.features,
                self.kernel if i else self.first_kernel,
                self.groups,
                first=i == 0,
                conditional=bool(self.num_classes or self.vector),
                mapped=bool(self.maps),
                dropout=self.dropout,
                dtype=self.dtype,
            )
            for i in range(self.depth)
        ]
        self.read_maps = Maps(self.reader, self.dtype)
        if self.embedding:
            self.embed = Embed(self.levels, self.embedding)
        outputs = self.groups * self.head.size
        self.hidden = HorizontalConv(self.head_features, 1, self.groups, dtype=self.dtype)
        self.logits = HorizontalConv(outputs, 1, self.groups, dtype=self.dtype)

    @property
    def takes_reals(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether x may be real: there is nothing between symbols."""
        return not self.embedding

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The vector, if any, and the maps."""
        return (*((Event((self.vector,)),) if self.vector else ()), *self.maps)

    def read(self, cond: Cond, train: bool = False) -> Context:
        """The one-hot class and the vector side by side; the map of each resolution."""
        label, values = parts_of(self, cond)
        vectors = [] if label is None else [nn.one_hot(label, self.num_classes)]
        vectors += values[: bool(self.vector)]
        vector = jnp.concatenate(vectors, axis=-1) if len(vectors) > 1 else (*vectors, None)[0]
        values = values[bool(self.vector) :]
        maps = self.read_maps(values, self.maps, self.event, train) if values else ()
        return Context(vector, maps)

    @property
    def groups(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The channels: each reads those before it in the same pixel."""
        return self.event.shape[-1]

    def to_input(self, x: Num[Array, "B H W C"]) -> Float[Array, "B H W I"]:
        if not self.embedding:
            return super().to_input(x)
        return self.embed(x.astype(jnp.int32)).reshape(*x.shape[:-1], -1)

    def vertical(
        self,
        image: Float[Array, "*sites I"],
        cond: Context,
        train: bool = False,
        at: Row | None = None,
    ) -> list[Float[Array, "*sites two_F"]]:
        """For each layer the term before its horizontal gate."""
        v, terms = image, []
        for layer in self.layers:
            v, term = layer.above(v, cond, at)
            terms.append(term)
        return terms

    def horizontal(
        self,
        image: Float[Array, "*sites I"],
        terms: list[Float[Array, "*row two_F"]],
        cond: Context,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        h, skips = image, []
        for layer, term in zip(self.layers, terms, strict=True):
            h, skip = layer.left(h, term, train, at)
            show(self, h)
            skips.append(skip)
        hidden = self.hidden(nn.relu(sum(skips[1:], skips[0])), at)
        return self.logits(nn.relu(hidden), at)

    def sees(
        self, up: Int[np.ndarray, "H W"], right: Int[np.ndarray, "H W"]
    ) -> Bool[np.ndarray, "H W"]:
        """A rectangle above and the pixels to the left: no blind spot."""
        reach = self.first_kernel // 2 + (self.depth - 1) * (self.kernel // 2)
        above = (up > 0) & (up <= reach) & (abs(right) <= reach)
        return above | ((up == 0) & (right < 0) & (right >= -reach))

    def check(self) -> None:
        require_image(self.event, self.system)
        require(
            min(self.depth, self.kernel) >= 1
            and self.kernel % 2 == 1
            and self.first_kernel % 2 == 1
            and self.first_kernel >= 3,
            "gated_pixel_cnn needs depth >= 1 and odd kernels, the first one >= 3",
        )
        require(
            min(self.features, self.head_features) >= 1 and 0 <= self.dropout < 1,
            "gated_pixel_cnn needs features >= 1, head_features >= 1 and dropout in [0, 1)",
        )
        self.reader.check(self.maps, self.event)
        require(
            self.features % self.groups == self.head_features % self.groups == 0,
            f"gated_pixel_cnn needs features ({self.features}) and head_features ({self.head_features}) divisible"
            f" by the {self.groups} channels",
        )
