"""PixelRNN: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, R then G then B in a pixel.

PixelCNN's network with layers of LSTM cells for blocks, one cell a pixel: [i, f, g, o] = K_is * x + K_ss * h,
c' = sigma(f) c + sigma(i) tanh(g), h' = sigma(o) tanh(c'). A cell of Row LSTM reads the states of the row above. A cell
of Diagonal BiLSTM reads the state above and the state beside it, on the left in one direction and on the right in the
other (van den Oord, Kalchbrenner and Kavukcuoglu 2016, 1601.06759, sections 3.1 to 3.4, equation 3). K_is is masked and
has a bias. K_ss reads earlier pixels only and needs no mask; it has no bias, so that states outside the image are zero.
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_jax.check import require
from gen_jax.models.autoregressive.masked_stack import MaskedStack
from gen_jax.nn.at import At, Site, here
from gen_jax.nn.causal_conv import KERNEL_INIT, HorizontalConv
from gen_jax.ops import recurrent
from gen_jax.ops.convolution import dense
from gen_jax.ops.masks import take_group
from gen_jax.ops.shifted_conv import row_taps
from gen_jax.typing import Dtype


def skew(x: Float[Array, "B H W F"]) -> Float[Array, "B H N F"]:
    """Row r moved r columns to the right, zeros around it: column d of N = W + H - 1 is the diagonal r + c = d."""
    batch, height, width, features = x.shape
    padded = jnp.pad(x, ((0, 0), (0, 0), (0, height), (0, 0)))
    flat = padded.reshape(batch, -1, features)[:, :-height]  # a row is one shorter than it was
    return flat.reshape(batch, height, width + height - 1, features)


def unskew(x: Float[Array, "B H N F"]) -> Float[Array, "B H W F"]:
    """Row r moved r columns back to the left: unskew(skew(x)) = x."""
    batch, height, columns, features = x.shape
    flat = jnp.pad(x.reshape(batch, -1, features), ((0, 0), (0, height), (0, 0)))
    return flat.reshape(batch, height, columns + 1, features)[:, :, : columns + 1 - height]


def row_lstm(
    a: Float[Array, "B H W four_F"], kernel: Float[Array, "k F four_F"]
) -> Float[Array, "B H W F"]:
    """h[r, c] from the inputs a[r, c], the k states h[r - 1, c - k // 2 ... c + k // 2] and the memory of (r - 1, c).

    A convolution as one product with k shifted copies: XLA's gradient of a convolution is slow in a loop on CPU.
    """
    (batch, _, width, _), (size, features, gates) = a.shape, kernel.shape
    flat, side = kernel.reshape(size * features, gates), size // 2

    def body(state, a):
        padded = jnp.pad(state[0], ((0, 0), (side, side), (0, 0)))
        copies = jnp.concatenate([padded[:, i : i + width] for i in range(size)], axis=-1)
        state = recurrent.lstm(state, a, dense(copies, flat))
        return state, state[0]

    zeros = jnp.zeros((batch, width, features), a.dtype)
    _, rows = lax.scan(body, (zeros, zeros), jnp.moveaxis(a, 1, 0))
    return jnp.moveaxis(rows, 0, 1)


def diagonal_lstm(
    a: Float[Array, "B H W four_F"], kernel: Float[Array, "2 F four_F"]
) -> Float[Array, "B H W F"]:
    """h[r, c] from the inputs a[r, c], the states h[r - 1, c] and h[r, c - 1] and the memory of (r, c - 1).

    The scan goes over the columns of the skewed image, so it computes one diagonal at a time.
    """
    (batch, height, _, gates), features = a.shape, kernel.shape[1]
    flat = kernel.reshape(2 * features, gates)

    def body(state, a):
        both = jnp.concatenate([shifted_down(state[0]), state[0]], axis=-1)
        state = recurrent.lstm(state, a, dense(both, flat))
        return state, state[0]

    zeros = jnp.zeros((batch, height, features), a.dtype)
    _, diagonals = lax.scan(body, (zeros, zeros), jnp.moveaxis(skew(a), 2, 0))
    return unskew(jnp.moveaxis(diagonals, 0, 2))


def shifted_down(x: Float[Array, "B H *rest"]) -> Float[Array, "B H *rest"]:
    """Row r - 1 in place of row r, zeros in place of the first row."""
    return jnp.concatenate([jnp.zeros_like(x[:, :1]), x[:, :-1]], axis=1)


class Cells(nn.Module):
    """F cells a pixel with state-to-state weights K_ss; a subclass says which states they read.

    In steps they keep h and c of the row so far, over those of the row above. At a row they compute and keep the share
    of the row above in K_ss * h.
    """

    features: int
    groups: int = 1
    dtype: Dtype = None
    kernel: ClassVar[int]  # number of states that a cell reads

    def weights(self, a: Array) -> list[Array]:
        """K_ss and the inputs in one type."""
        F = self.features
        kernel = self.param("kernel", KERNEL_INIT, (self.kernel, F, 4 * F))
        return promote_dtype(kernel, a, dtype=self.dtype)

    def kept(self, name: str, columns: int, a: Array, blocks: int = 1) -> nn.Variable:
        """`blocks` times F numbers a column in the cache."""
        shape = (columns, a.shape[-2], blocks * self.features)
        return self.variable("cache", name, jnp.zeros, shape, a.dtype)

    def step(
        self,
        kept: tuple[nn.Variable, nn.Variable],
        memory: Float[Array, "B F"],
        inputs: tuple[Float[Array, "B G"], Float[Array, "B G"]],
        at: Site,
        column: Int[Array, ""],
    ) -> Float[Array, "B f"]:
        """h of the site's group from K_is * x and K_ss * h; h and c are kept in this column."""
        before = take_group(memory, at.group, self.groups)
        new = recurrent.lstm((before, before), *inputs)  # h before is in the inputs
        for variable, value in zip(kept, new, strict=True):
            start = (column, 0, at.group * value.shape[-1])
            variable.value = lax.dynamic_update_slice(variable.value, value[None], start)
        return new[0]


class FromAbove(Cells):
    """Row LSTM: `row_lstm`."""

    kernel: int = 3  # pyright: ignore[reportIncompatibleVariableOverride]

    @nn.compact
    def __call__(self, a: Float[Array, "*sites G"], at: At = None) -> Float[Array, "*sites F"]:
        kernel, a = self.weights(a)
        if at is None:
            return row_lstm(a, kernel)
        h, c = self.kept("h", at.width, a), self.kept("c", at.width, a)
        share = self.kept("share", at.width, a, blocks=4)
        if not isinstance(at, Site):
            side = self.kernel // 2
            share.value = row_taps(jnp.pad(h.value, ((side, side), (0, 0), (0, 0))), kernel)
            return h.value
        u = here(share.value, at, self.groups, splits=4)
        return self.step((h, c), c.value[at.column], (a, u), at, at.column)


class FromLeft(Cells):
    """Diagonal BiLSTM from left to right: `diagonal_lstm`. Column c is kept at c + 1, behind a column of zeros."""

    kernel: ClassVar[int] = 2

    @nn.compact
    def __call__(self, a: Float[Array, "*sites G"], at: At = None) -> Float[Array, "*sites F"]:
        kernel, a = self.weights(a)
        if at is None:
            return diagonal_lstm(a, kernel)
        h, c = self.kept("h", at.width + 1, a), self.kept("c", at.width + 1, a)
        share = self.kept("share", at.width, a, blocks=4)
        if not isinstance(at, Site):
            share.value = h.value[1:] @ kernel[0]
            return h.value[1:]
        beside = h.value[at.column] @ take_group(kernel[1], at.group, self.groups, splits=4)
        u = here(share.value, at, self.groups, splits=4) + beside
        return self.step((h, c), c.value[at.column], (a, u), at, at.column + 1)


class FromRight(Cells):
    """Diagonal BiLSTM from right to left: `diagonal_lstm` of the mirrored image, its result shifted down by one row.

    Without the shift a site would read the pixels to its right, which are later. In steps all cells of the row above
    are computed at a row, from the inputs of the row above; at a site there are no inputs.
    """

    kernel: ClassVar[int] = 2

    @nn.compact
    def __call__(
        self, a: Float[Array, "*sites G"] | None, at: At = None
    ) -> Float[Array, "*sites F"]:
        if a is None:
            return here(self.get_variable("cache", "h"), at, self.groups)
        kernel, a = self.weights(a)
        if at is None:
            return shifted_down(jnp.flip(diagonal_lstm(jnp.flip(a, 2), kernel), 2))
        h = self.kept("h", at.width, a)

        def body(state, a):
            state = recurrent.lstm(state, a, state[0] @ kernel[1])
            return state, state[0]

        zeros = jnp.zeros_like(h.value[0])
        _, row = lax.scan(body, (zeros, zeros), a + h.value @ kernel[0], reverse=True)
        h.value = (at.row > 0) * row
        return h.value


class RowLayer(nn.Module):
    """W h: K_is is a masked convolution over `kernel` columns, W a masked 1x1 one."""

    features: int
    kernel: int
    groups: int
    dtype: Dtype = None

    def setup(self):
        F, groups, dtype = self.features, self.groups, self.dtype
        self.inputs = HorizontalConv(F, self.kernel // 2 + 1, groups, splits=4, dtype=dtype)
        self.cells = FromAbove(F, groups, dtype, self.kernel)
        self.out = HorizontalConv(2 * F, 1, groups, dtype=dtype)

    def __call__(
        self, x: Float[Array, "*sites two_F"], at: At = None
    ) -> Float[Array, "*sites two_F"]:
        return self.out(self.cells(self.inputs(x, at), at), at)


class DiagonalLayer(nn.Module):
    """W (h_left + h_right): both K_is and W are masked 1x1 convolutions. In steps it keeps the row of x so far."""

    features: int
    groups: int
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*sites two_F"], at: At = None
    ) -> Float[Array, "*sites two_F"]:
        F, groups, dtype = self.features, self.groups, self.dtype
        inputs = functools.partial(HorizontalConv, F, 1, groups, splits=4, dtype=dtype)
        to_right = inputs(name="right_inputs")
        h = FromLeft(F, groups, dtype, name="left")(inputs(name="left_inputs")(x, at), at)
        if at is None:
            a = to_right(x)
        else:
            row = self.variable("cache", "row", jnp.zeros, (at.width, x.shape[-2], 2 * F), h.dtype)
            if isinstance(at, Site):
                start, a = (at.column, 0, at.group * x.shape[-1]), None
                row.value = lax.dynamic_update_slice(row.value, x[None].astype(h.dtype), start)
            else:
                a = to_right(row.value, at)
        h = h + FromRight(F, groups, dtype, name="right")(a, at)
        return HorizontalConv(2 * F, 1, groups, dtype=dtype, name="out")(h, at)


class RowLSTM(MaskedStack):
    """Layers of LSTM cells down the rows: a state reads those of the row above, in `kernel` columns.

    Images (H, W, C) of any number of levels; `features` (h in the paper) split into C groups, so C divides them. The
    context is a triangle above, which grows by kernel // 2 columns a row on both sides, and pixels to the left.
    """

    system: ClassVar[str] = "pixel_rnn_row"

    kernel: int = 3

    def block(self) -> nn.Module:
        return RowLayer(self.features, self.kernel, self.groups, self.dtype)

    def sees(
        self, up: Int[np.ndarray, "H W"], right: Int[np.ndarray, "H W"]
    ) -> Bool[np.ndarray, "H W"]:
        """A state reads k // 2 columns to both sides of the row above, inputs k // 2 to the left, in every layer."""
        side, each = self.first_kernel // 2, self.kernel // 2
        farthest = np.where(up > 0, side + (up - 1) * each, -1)
        return (up >= 0) & (right <= farthest) & (right >= -(side + (up + self.depth) * each))

    def check(self) -> None:
        super().check()
        require(
            self.depth >= 1 and self.kernel % 2 == 1 and 3 <= self.kernel <= self.first_kernel,
            "pixel_rnn_row needs depth >= 1 and an odd kernel from 3 to first_kernel",
        )


class DiagonalBiLSTM(MaskedStack):
    """Layers of LSTM cells along the diagonals, from both sides: a state reads the one above and the one beside it.

    Images (H, W, C) of any number of levels; `features` (h in the paper) split into C groups, so C divides them. The
    context is every earlier value but one, the last of the row above: no feature of its own row reads it, so the cells
    of that row cannot carry it to the left.
    """

    system: ClassVar[str] = "pixel_rnn_diagonal"

    def block(self) -> nn.Module:
        return DiagonalLayer(self.features, self.groups, self.dtype)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        context, width = super().context(site), self.event.shape[1]
        row, column = divmod(site // self.groups, width)
        if row and column + self.first_kernel // 2 < width - 1:  # else the first kernel reads it
            context[row * width * self.groups - 1] = False
        return context

    def check(self) -> None:
        super().check()
        require(self.depth >= 1, "pixel_rnn_diagonal needs depth >= 1")
