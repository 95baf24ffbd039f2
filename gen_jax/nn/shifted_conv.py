"""Weight-normalised shifted convolutions with data-dependent initialisation.

w = g v / ||v||, the norm over all axes but the output. At initialisation g and the bias are chosen so that every output
has mean 0 and standard deviation `init_scale` over the first batch (Salimans and Kingma 2016, 1602.07868, section 3).
That batch is the global one, so every device starts from the same values.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

from gen_jax.nn.at import At, Row, Site, halves_here, here
from gen_jax.nn.conv import product_at
from gen_jax.ops.convolution import dense
from gen_jax.ops.shifted_conv import row_taps, shifted_conv, site_taps
from gen_jax.typing import Dtype


class WeightNorm(nn.Module):
    """Parameters of a weight-normalised linear map; a subclass applies it."""

    features: int
    init_scale: float = 1.0
    dtype: Dtype = None

    def weights(
        self, shape: tuple[int, ...], outputs: Callable[[Array], Array] | None = None
    ) -> tuple[Float[Array, "*shape"], Float[Array, " O"]]:
        """Kernel and bias; `outputs` maps a kernel to the outputs for the first batch (None: scale 1 and bias 0)."""
        direction = self.param("direction", nn.initializers.normal(0.05), shape)
        unit = direction / jnp.sqrt(jnp.sum(direction**2, axis=range(len(shape) - 1)))
        mean, gain = jnp.zeros(self.features), jnp.ones(self.features)
        if self.is_initializing() and outputs is not None:
            y = outputs(unit)
            axes, dtype = range(y.ndim - 1), jnp.result_type(float)
            mean = jnp.mean(y, axis=axes, dtype=dtype)
            var = jnp.var(y, axis=axes, dtype=dtype)
            gain = self.init_scale / jnp.sqrt(var + 1e-10)
            gain = jnp.where(var > 1e-10, gain, self.init_scale)  # a constant has no scale
        scale = self.param("scale", lambda _: gain)
        bias = self.param("bias", lambda _: -mean * gain)
        return unit * scale, bias

    def typed(
        self, x: Array, window: tuple[int, ...], linear: Callable[[Array, Array], Array]
    ) -> list[Array]:
        """x, kernel (*window, inputs, features) and bias, in one type; the outputs are `linear(x, kernel)` + bias."""
        shape = (*window, x.shape[-1], self.features)
        kernel, bias = self.weights(shape, lambda kernel: linear(x, kernel.astype(x.dtype)))
        return promote_dtype(x, kernel, bias, dtype=self.dtype)


class ShiftedConv(WeightNorm):
    """Convolution over rows r-h+1..r and columns c-left..c-left+w-1, in the stream u.

    u itself is shifted down by one row, so u at row r depends on rows above r only. At a row the layer is given row r
    of its input, and keeps the rows above that its window reads. With a stride every second output row has no meaning.
    """

    height: int = 1
    width: int = 1
    left: int = 0
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*sites_out O"]:
        linear = functools.partial(shifted_conv, left=self.left, stride=self.stride)
        x, kernel, bias = self.typed(x, (self.height, self.width), linear)
        if at is None:
            return linear(x, kernel) + bias
        rows = [jnp.pad(x, ((self.left, self.width - 1 - self.left), (0, 0), (0, 0)))]
        if self.height > 1:
            size = (self.height - 1, *rows[0].shape)
            above = self.variable("cache", "rows", jnp.zeros, size, x.dtype)
            rows = [*above.value, *rows]
            above.value = jnp.stack(rows[1:])
        taps = (row_taps(row, kernel[i], self.stride) for i, row in enumerate(rows))
        return sum(taps, start=jnp.zeros((), kernel.dtype)) + bias


class LeftConv(ShiftedConv):
    """The same convolution in the stream v, which also reads columns to the left: its window ends in column c.

    Its window has two rows. It keeps the present row as far as it is known. When the next row begins, this is the row
    above: its share of all outputs of the new row is computed at once and kept. A site adds the share of its own row.
    """

    height: int = 2

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*sites_out O"]:
        linear = functools.partial(shifted_conv, left=self.left, stride=self.stride)
        x, kernel, bias = self.typed(x, (self.height, self.width), linear)
        if at is None:
            return linear(x, kernel) + bias
        *_, batch, inputs = x.shape
        size = (at.width + self.width - 1, batch, inputs)
        row = self.variable("cache", "row", jnp.zeros, size, x.dtype)
        size = (at.width // self.stride, batch, self.features)
        above = self.variable("cache", "table", jnp.zeros, size, x.dtype)
        if isinstance(at, Row):
            share = row_taps(row.value, kernel[0], self.stride)
            above.value = jnp.zeros((), kernel.dtype) + share + bias
            return above.value
        row.value = lax.dynamic_update_slice(row.value, x[None], (at.column + self.left, 0, 0))
        window = lax.dynamic_slice_in_dim(row.value, at.column, self.width, axis=0)
        at = at if self.stride == 1 else at.coarser
        halves = self.features % 2 == 0  # cut as a gate reads it: `halves_here` says why
        share = halves_here(above.value, at) if halves else [here(above.value, at)]
        return jnp.concatenate(share, axis=-1) + site_taps(window, kernel[-1])


class Project(WeightNorm):
    """Weight-normalised 1x1 convolution of the concatenated inputs ("network in network"): sum_i x_i W_i + b."""

    @nn.compact
    def __call__(self, *inputs: Float[Array, "... _I"], at: At = None) -> Float[Array, "*sites O"]:
        product = product_at(at)
        x, kernel, bias = self.typed(jnp.concatenate(inputs, axis=-1), (), product)
        return product(x, kernel) + bias


class RowProject(Project):
    """A `Project` whose first input is a term of the rows above: in steps its share is computed once a row and kept."""

    @nn.compact
    def __call__(self, *inputs: Float[Array, "... _I"], at: At = None) -> Float[Array, "*sites O"]:
        if at is None:
            return super().__call__(*inputs)
        read, total = inputs[0].shape[-1], sum(x.shape[-1] for x in inputs)
        kernel, bias = self.weights((total, self.features))
        kernel, bias, term, *others = promote_dtype(kernel, bias, *inputs, dtype=self.dtype)
        size = (*term.shape[:-1], self.features)
        table = self.variable("cache", "table", jnp.zeros, size, term.dtype)
        if isinstance(at, Row):
            table.value = term @ kernel[:read] + bias
            return table.value
        share = here(table.value, at)
        return share + jnp.concatenate(others, axis=-1) @ kernel[read:] if others else share


class Upsample(WeightNorm):
    """Shifted transposed convolution of stride 2, a 2 x `width` kernel.

    y[2 r + i, 2 c + j] is phase [i, j] of the coarse pixel (r, c). With `width` 2 it is x[r, c] K[i, j]; with `width` 3
    the odd columns also read x[r, c + 1].
    """

    width: int = 2

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*finer O"]:
        """All sites; at a row both finer rows (2 W B O); at a site all four finer pixels side by side (B 4_O)."""
        if isinstance(at, Row):
            x = jnp.swapaxes(x, 0, 1)
        elif isinstance(at, Site):
            x = x[:, None]
        x, kernel, bias = self.typed(x, (2, self.width), upsample)
        phases = upsample(x, kernel) + bias  # ... W 2 2 O
        if isinstance(at, Row):
            phases = jnp.transpose(phases, (2, 1, 3, 0, 4))
            return phases.reshape(2, -1, *phases.shape[3:])
        if isinstance(at, Site):
            return phases.reshape(x.shape[0], -1)
        batch, height, width, *_ = phases.shape
        return jnp.swapaxes(phases, 2, 3).reshape(batch, 2 * height, 2 * width, -1)

    @nn.nowrap
    def pick(self, y: Float[Array, "*finer _O"], at: At) -> Float[Array, "*sites O"]:
        """The fine row or pixel at `at`, out of the result of `__call__`."""
        if at is None:
            return y
        if isinstance(at, Row):
            return lax.dynamic_index_in_dim(y, at.row % 2, keepdims=False)
        phase = 2 * (at.row % 2) + at.column % 2
        return lax.dynamic_slice_in_dim(y, phase * self.features, self.features, axis=-1)


def upsample(
    x: Float[Array, "*batch W I"], kernel: Float[Array, "2 w I O"]
) -> Float[Array, "*batch W 2 2 O"]:
    """The four phases of each column."""
    inputs, outputs = kernel.shape[2:]
    flat = jnp.transpose(kernel[:, -2:], (2, 0, 1, 3)).reshape(inputs, 4 * outputs)
    phases = dense(x, flat).reshape(*x.shape[:-1], 2, 2, outputs)
    if kernel.shape[1] == 2:
        return phases
    flat = jnp.transpose(kernel[:, 0], (1, 0, 2)).reshape(inputs, 2 * outputs)
    next_column = jnp.pad(x[..., 1:, :], [(0, 0)] * (x.ndim - 2) + [(0, 1), (0, 0)])
    odd = dense(next_column, flat).reshape(*x.shape[:-1], 2, outputs)
    return phases.at[..., 1, :].add(odd)
