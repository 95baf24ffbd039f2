"""MADE's network: dense layers whose masks follow from degrees (Germain et al. 2015, 1502.03509, section 3).

Several masks share the weights; `mask` is the index of the one in use. Stepping computes at each site only the hidden
units that its predecessor completed, so that a whole event costs about as much as a parallel pass.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from gen_jax.ops import degrees
from gen_jax.ops.masks import degree_mask
from gen_jax.ops.scaling import num_indicators, to_indicators


class Cache(NamedTuple):
    """The mask's index; the values written and the hidden units completed so far, features first, zero elsewhere."""

    mask: Int[Array, ""]
    x: Float[Array, "D I n"]
    layers: tuple[Float[Array, "H n"], ...]


class MaskedMLP(nn.Module):
    """ReLU layers of `hidden` units from D symbols to P parameters of each, one mask for each order.

    `direct` connects inputs to outputs as well. Sites are numbered in the order of generation of the mask in use.
    """

    size: int
    levels: int
    outputs: int
    hidden: tuple[int, ...]
    direct: bool
    order_seeds: tuple[int | None, ...]
    seed: int

    def setup(self):
        """Kernels with outputs first: the weights of a unit are one piece."""
        self.degrees = degrees.draw(self.size, self.hidden, self.order_seeds, self.seed)
        self.inputs = num_indicators(self.levels)
        widths = (self.size * self.inputs, *self.hidden)
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=-1, out_axis=0)
        zeros = nn.initializers.zeros
        self.kernels = [
            self.param(f"kernel_{i}", init, (width, widths[i]))
            for i, width in enumerate(self.hidden)
        ]
        self.biases = [
            self.param(f"bias_{i}", zeros, (width,)) for i, width in enumerate(self.hidden)
        ]
        out = (self.size, self.outputs)
        init = nn.initializers.variance_scaling(
            1.0, "fan_in", "normal", in_axis=-1, out_axis=0, batch_axis=1
        )
        self.out_kernel = self.param("out_kernel", init, (*out, widths[-1]))
        self.out_bias = self.param("out_bias", zeros, out)
        if self.direct:
            self.direct_kernel = self.param("direct_kernel", zeros, (*out, widths[0]))

    def __call__(
        self, x: Integer[Array, "B D"], mask: int | Int[Array, ""]
    ) -> Float[Array, "B sites P"]:
        """All sites at once."""
        position = jnp.asarray(self.degrees.position)[mask]
        below = first = jnp.repeat(position, self.inputs)
        h = u = to_indicators(x, self.inputs, self.out_bias.dtype).reshape(x.shape[0], -1)
        for kernel, bias, table in zip(self.kernels, self.biases, self.degrees.hidden, strict=True):
            degree = jnp.asarray(table)[mask]
            h = nn.relu(h @ jnp.where(degree_mask(below, degree, strict=False), kernel.T, 0) + bias)
            below = degree
        out = self.out_bias + _outputs(
            h, self.out_kernel, degree_mask(below, position, strict=True)
        )
        if self.direct:
            out = out + _outputs(u, self.direct_kernel, degree_mask(first, position, strict=True))
        return out[:, jnp.asarray(self.degrees.order)[mask]]

    def init_cache(self, n: int, mask: int | Int[Array, ""]) -> Cache:
        """Zeros: what a mask puts in the place of what is not known."""
        dtype = self.out_bias.dtype
        return Cache(
            jnp.asarray(mask, jnp.int32),
            jnp.zeros((self.size, self.inputs, n), dtype),
            tuple(jnp.zeros((width, n), dtype) for width in self.hidden),
        )

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "n P"]]:
        """The hidden units that see `site` values, which are all known by now, then the site's output."""
        h = u = cache.x.reshape(-1, cache.x.shape[-1])
        layers = []
        for i, layer in enumerate(cache.layers):
            start = jnp.asarray(self.degrees.starts[i])[cache.mask, site]
            units = jnp.asarray(self.degrees.units[i])[cache.mask]
            units = lax.dynamic_slice_in_dim(units, start, self.degrees.most[i])
            complete = jnp.asarray(self.degrees.hidden[i])[cache.mask, units] == site
            new = nn.relu(self.kernels[i][units] @ h + self.biases[i][units, None])
            h = layer.at[units].set(jnp.where(complete[:, None], new, layer[units]))
            layers.append(h)
        position = self._position(cache, site)
        out = self.out_kernel[position] @ h + self.out_bias[position, :, None]
        if self.direct:
            out = out + self.direct_kernel[position] @ u
        return cache._replace(layers=tuple(layers)), out.T

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "n 1"]) -> Cache:
        """Put the value in its place."""
        u = to_indicators(value[:, 0], self.inputs, cache.x.dtype)
        return cache._replace(x=cache.x.at[self._position(cache, site)].set(u.T))

    def _position(self, cache: Cache, site: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.asarray(self.degrees.order)[cache.mask, site]


def _outputs(h, kernel, mask):
    """sum_i mask[i, d] kernel[d, p, i] h[b, i], by one product."""
    D, P, width = kernel.shape
    kernel = jnp.where(mask.T[:, None, :], kernel, 0).reshape(D * P, width)
    return (h @ kernel.T).reshape(-1, D, P)
