"""One layer of the Gated PixelCNN: a vertical and a horizontal stack without a blind spot.

v' = tanh(W_f * v) . sigma(W_g * v) over the rows above; h' = h + W (tanh(.) . sigma(.)) over the columns to the left,
fed by the vertical convolution before its gate (van den Oord et al. 2016, 1606.05328, figure 2 and equation 4).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_jax.nn.causal_conv import HorizontalConv, VerticalConv
from gen_jax.nn.conv import Dense
from gen_jax.ops.gates import gated_tanh, term_halves
from gen_jax.ops.masks import put_group, take_group
from gen_jax.typing import Dtype

SMALL = nn.initializers.normal(0.01)


class GatedLayer(nn.Module):
    """Input (v, h), output (v', h', skip). The first layer reads the image strictly and has no residual.

    `conditional` adds a term V y of the vector y, a class in one-hot form for example, to every gate, without bias.
    V begins small: draws of z that say nothing yet would be noise in every gate, which only a KL could lower.
    """

    features: int
    kernel: int
    groups: int
    first: bool = False
    conditional: bool = False
    dropout: float = 0.0
    dtype: Dtype = None

    @property
    def rows(self) -> int:
        """Number of rows that the vertical convolution reads."""
        return self.kernel // 2 + (not self.first)

    @property
    def columns(self) -> int:
        """Number of columns that the horizontal convolution reads."""
        return self.kernel // 2 + (not (self.first and self.groups == 1))

    def setup(self):
        """Declare the four convolutions and the term of the condition."""
        F, dtype = self.features, self.dtype
        self.vertical = VerticalConv(2 * F, self.rows, self.kernel, self.first, dtype)
        self.link = Dense(2 * F, dtype=dtype)
        self.horizontal = HorizontalConv(
            F, self.kernel // 2 + 1, self.groups, self.first, splits=2, dtype=dtype
        )
        self.out = HorizontalConv(F, 1, self.groups, splits=2, dtype=dtype)
        self.drop = nn.Dropout(self.dropout)
        if self.conditional:
            self.condition = nn.Dense(4 * F, use_bias=False, kernel_init=SMALL, dtype=dtype)

    def _linked(self, a, cond):
        """Vertical pre-activation and the term it gives the horizontal gate, each with its term of the condition."""
        b = self.link(a)
        if self.conditional:
            term = self.condition(cond.astype(a.dtype))
            term = term.reshape(term.shape[0], *(1,) * (a.ndim - 2), -1)
            to_vertical, to_horizontal = jnp.split(term, 2, axis=-1)
            a, b = a + to_vertical, b + to_horizontal
        return a, b

    def __call__(
        self,
        v: Float[Array, "B H W I"],
        h: Float[Array, "B H W I"],
        cond: Float[Array, "B K"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B H W F"], Float[Array, "B H W F"], Float[Array, "B H W F"]]:
        """All sites at once."""
        a, b = self._linked(self.vertical(v), cond)
        gate = gated_tanh(self.horizontal(h) + b)
        residual, skip = jnp.split(self.out(self.drop(gate, deterministic=not train)), 2, axis=-1)
        return gated_tanh(a), residual if self.first else h + residual, skip

    def row(
        self, window: Float[Array, "B rows W I"], cond: Float[Array, "B K"] | None = None
    ) -> tuple[Float[Array, "B W F"], Float[Array, "W B two_F"]]:
        """The vertical stack of one row: v' and the table of terms for the horizontal gates, column axis first."""
        a, b = self._linked(self.vertical.row(window), cond)
        return gated_tanh(a), jnp.swapaxes(b, 0, 1)

    def site(
        self,
        window: Float[Array, "B columns I"],
        table: Float[Array, "W B two_F"],
        column: Int[Array, ""],
        gate: Float[Array, "B F"],
        group: Int[Array, ""],
    ) -> tuple[Float[Array, "B F"], Float[Array, "B f"], Float[Array, "B f"]]:
        """One group at one pixel, given the row's terms and the gates of the pixel's earlier groups: gate, h', skip."""
        terms = term_halves(table, column, group, self.groups)
        gate = put_group(gate, gated_tanh(self.horizontal.site(window, group), terms), group)
        residual, skip = jnp.split(self.out.site(gate[:, None], group), 2, axis=-1)
        if not self.first:
            residual = residual + take_group(window[:, -1], group, self.groups)
        return gate, residual, skip
