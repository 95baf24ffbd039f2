"""Weight-normalised shifted convolutions with data-dependent initialisation.

w = g v / ||v||, the norm over all axes but the output; on the batch of the initialisation g and the bias make every
output of mean 0 and standard deviation `init_scale` (Salimans and Kingma 2016, 1602.07868, section 3). The batch is
the global one, so every device starts from the same values.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

from gen_jax.nn.at import At, Site, halves_here, here
from gen_jax.nn.conv import product_at
from gen_jax.ops import shifted_conv as ops
from gen_jax.typing import Dtype


class WeightNorm(nn.Module):
    """Parameters of a weight-normalised map; a subclass says which."""

    features: int
    init_scale: float = 1.0
    dtype: Dtype = None

    def weights(
        self, shape: tuple[int, ...], outputs: Callable[[Array], Array] | None = None
    ) -> tuple[Float[Array, "*shape"], Float[Array, " O"]]:
        """Kernel and bias; `outputs` maps a kernel to the outputs on the batch of the initialisation."""
        direction = self.param("direction", nn.initializers.normal(0.05), shape)
        unit = direction / jnp.sqrt(jnp.sum(direction**2, axis=range(len(shape) - 1)))
        if self.is_initializing() and outputs is not None:
            y = outputs(unit)
            mean = jnp.mean(y, axis=range(y.ndim - 1), dtype=jnp.result_type(float))
            variance = jnp.var(y, axis=range(y.ndim - 1), dtype=jnp.result_type(float))
            gain = self.init_scale / jnp.sqrt(variance + 1e-10)
        else:
            mean = jnp.zeros(self.features)
            gain = jnp.ones(self.features)
        scale = self.param("scale", lambda _: gain)
        bias = self.param("bias", lambda _: -mean * gain)
        return unit * scale, bias


class ShiftedConv(WeightNorm):
    """Convolution whose window ends in the own row; `left` columns of it lie to the left of the own one.

    In steps it is called at each row in turn, and keeps the rows above that it reads.
    """

    height: int = 1
    width: int = 1
    left: int = 0
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*sites_out O"]:
        """All sites, or a row; with a stride only every second row means anything."""
        x, kernel, bias = self.typed(x)
        if at is None:
            return ops.shifted_conv(x, kernel, self.left, self.stride) + bias
        row, rows = self.padded(x), []
        if self.height > 1:
            above = self.variable(
                "cache", "rows", jnp.zeros, (self.height - 1, *row.shape), x.dtype
            )
            rows = list(above.value)
            above.value = jnp.stack([*rows[1:], row])
        return self.share([*rows, row], kernel) + bias

    def typed(self, x: Array) -> list[Array]:
        """Input, kernel and bias in one type; the first batch sets scale and bias."""

        def outputs(kernel: Array) -> Array:
            return ops.shifted_conv(x, kernel.astype(x.dtype), self.left, self.stride)

        kernel, bias = self.weights((self.height, self.width, x.shape[-1], self.features), outputs)
        return promote_dtype(x, kernel, bias, dtype=self.dtype)

    def padded(self, row: Float[Array, "W B I"]) -> Float[Array, "W_padded B I"]:
        """A row between the columns of zeros that the window reads."""
        return jnp.pad(row, ((self.left, self.width - 1 - self.left), (0, 0), (0, 0)))

    def share(
        self, rows: list[Array], kernel: Float[Array, "h w I O"]
    ) -> Float[Array, "W_out B O"]:
        """What the first rows of the window give to a row of the output."""
        taps = (ops.row_taps(row, kernel[i], self.stride) for i, row in enumerate(rows))
        return sum(taps, start=jnp.zeros((), kernel.dtype))


class LeftConv(ShiftedConv):
    """A `ShiftedConv` of two rows that ends in the own column, in a stream that knows the own row up to there.

    In steps it keeps the row so far. As a row begins, that is the row above: what it gives to each column is computed
    at once, and a site adds the share of the own row.
    """

    height: int = 2

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*sites_out O"]:
        """All sites, or a site; as a row begins the share of the row above, whatever x."""
        x, kernel, bias = self.typed(x)
        if at is None:
            return ops.shifted_conv(x, kernel, self.left, self.stride) + bias
        batch, inputs = x.shape[-2:]
        so_far = self.variable(
            "cache", "row", jnp.zeros, (at.width + self.width - 1, batch, inputs), x.dtype
        )
        shape = (at.width // self.stride, batch, self.features)
        table = self.variable("cache", "table", jnp.zeros, shape, x.dtype)
        if not isinstance(at, Site):
            table.value = self.share([so_far.value], kernel) + bias
            return table.value
        start = (at.column + self.left, 0, 0)
        so_far.value = lax.dynamic_update_slice(so_far.value, x[None], start)
        window = lax.dynamic_slice_in_dim(so_far.value, at.column, self.width, axis=0)
        there = at if self.stride == 1 else at.coarser
        halves = self.features % 2 == 0  # cut as a gate reads it: ops.gates.term_halves says why
        parts = halves_here(table.value, there) if halves else [here(table.value, there)]
        return jnp.concatenate(parts, axis=-1) + ops.site_taps(window, kernel[-1])


class Project(WeightNorm):
    """Weight-normalised 1x1 convolution of several inputs side by side ("network in network")."""

    @nn.compact
    def __call__(self, *inputs: Float[Array, "... _I"], at: At = None) -> Float[Array, "*sites O"]:
        """sum_i x_i W_i + b, the same at all sites and in steps."""
        x, product = jnp.concatenate(inputs, axis=-1), product_at(at)
        kernel, bias = self.weights(
            (x.shape[-1], self.features), lambda kernel: product(x, kernel.astype(x.dtype))
        )
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return product(x, kernel) + bias


class RowProject(Project):
    """A `Project` whose first input is a term of the rows above: in steps its share is computed once a row."""

    @nn.compact
    def __call__(self, *inputs: Float[Array, "... _I"], at: At = None) -> Float[Array, "*sites O"]:
        """All sites, or a site; as a row begins the share of the term, whatever the other inputs."""
        if at is None:
            return super().__call__(*inputs)
        read, total = inputs[0].shape[-1], sum(x.shape[-1] for x in inputs)
        kernel, bias = self.weights((total, self.features))
        kernel, bias, term, *own = promote_dtype(kernel, bias, *inputs, dtype=self.dtype)
        shape = (*term.shape[:-1], self.features)
        table = self.variable("cache", "table", jnp.zeros, shape, term.dtype)
        if not isinstance(at, Site):
            table.value = term @ kernel[:read] + bias
            return table.value
        share = here(table.value, at)
        return share + jnp.concatenate(own, axis=-1) @ kernel[read:] if own else share
