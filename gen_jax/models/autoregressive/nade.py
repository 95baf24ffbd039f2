"""NADE: log p(x) = sum_d log p(x_d | x_<d), p(x_d = 1 | x_<d) = sigma(b_d + V_d sigma(c + W_{<d} x_<d)).

One layer of hidden units whose input weights all conditionals share: the likelihood costs O(HD) an example, a step of
the sampler O(H) (Larochelle and Murray 2011; Uria, Cote, Gregor, Murray and Larochelle 2016, 1605.02226, equations 2
and 3). More than two levels enter one-hot and leave by a softmax.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from gen_jax.errors import InputError
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.ops import nade
from gen_jax.ops.orders import order_of
from gen_jax.ops.scaling import num_indicators


class Cache(NamedTuple):
    """The running sum of the values written so far."""

    a: Float[Array, "n H"]


class NADE(Autoregressive):
    """`hidden` units H; positions in raster order or, by `order_seed`, in a fixed random one."""

    system: ClassVar[str] = "nade"

    hidden: int = 500
    order_seed: int | None = None

    def setup(self):
        """W, V, c and b, sites in order of generation; InputError without hidden units."""
        if self.hidden < 1:
            raise InputError(f"nade needs hidden >= 1, not {self.hidden}")
        D, H, P = self.event.size, self.hidden, self.head.size
        inputs = num_indicators(self.levels)
        init = nn.initializers.variance_scaling
        fan_in = init(1.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2)
        self.kernel = self.param("kernel", fan_in, (D, inputs, H))
        self.hidden_bias = self.param("hidden_bias", nn.initializers.zeros, (H,))
        fan_in = init(1.0, "fan_in", "normal", in_axis=2, out_axis=1, batch_axis=0)
        self.out_kernel = self.param("out_kernel", fan_in, (D, P, H))
        self.bias = self.param("bias", nn.initializers.zeros, (D, P))

    @property
    def sites(self) -> Int[np.ndarray, "sites 1"]:
        """One value a site, in the order of generation."""
        return order_of(self.event.size, self.order_seed)[:, None]

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """All conditionals by one scan over the sites."""
        values = self.site_values(x)[..., 0]
        return self.bias + nade.conditionals(self.kernel, self.out_kernel, self.hidden_bias, values)

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        """The bias: nothing is written."""
        return Cache(jnp.broadcast_to(self.hidden_bias, (n, self.hidden)))

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "n P"]]:
        """One product with the site's output weights."""
        kernel = lax.dynamic_index_in_dim(self.out_kernel, site, keepdims=False)
        return cache, self.bias[site] + nade.site(cache.a, kernel)

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "n 1"]) -> Cache:
        """Add the value's input weights."""
        kernel = lax.dynamic_index_in_dim(self.kernel, site, keepdims=False)
        return Cache(nade.absorb(cache.a, kernel, value[:, 0]))
