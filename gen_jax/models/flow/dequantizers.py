"""How integers become reals: x + u with noise u in the unit cube, drawn from q(u | x).

log P(x) = log E_q [p(x + u) / q(u | x)] >= E_q [log p(x + u) - log q(u | x)] (Theis et al. 2015, 1511.01844, for
uniform q; Ho et al. 2019, 1902.00275, section 3.1). A dequantiser is a field of `DequantizedFlow`.
"""

import functools
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from gen_jax.check import require
from gen_jax.nn.bijections import Vector, VectorOrMap, chain, unchain
from gen_jax.nn.gated_attention import GatedAttentionNet, GatedConv, Linear
from gen_jax.nn.mixture_coupling import mixture_steps
from gen_jax.ops import gaussian
from gen_jax.ops.squeeze import column_pairs, columns
from gen_jax.typing import Event, Nats, PRNGKey

CONTEXT_CONVS = 3


@runtime_checkable
class Dequantizer(Protocol):
    """Noise for integers."""

    def noise(
        self,
        x: Integer[Array, "B *event"],
        key: PRNGKey,
        levels: int,
        y: Vector = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B *event"], Nats]:
        """A draw of u from q(u | x) and log q(u | x), nats; y is the class as a vector, if there are classes."""
        ...

    def check(self, event: Event) -> None:
        """InputError if there is no noise for such events."""


@dataclass(frozen=True)
class UniformDequantizer:
    """q(u | x) = 1."""

    def noise(
        self,
        x: Integer[Array, "B *event"],
        key: PRNGKey,
        levels: int,
        y: Vector = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B *event"], Nats]:
        del levels, y, train  # the same noise for all
        return jax.random.uniform(key, x.shape), jnp.zeros(len(x))

    def check(self, event: Event) -> None:
        del event  # any


class VariationalDequantizer(nn.Module):
    """u = sigmoid(g(eps; x)) with eps from N(0, I): log q(u | x) = log N(eps; 0, I) - log |det du/deps|.

    g is a chain of `couplings` steps of Flow++ (`nn/mixture_coupling.py`) with mixtures of `components` logistics and
    networks of `blocks` blocks of `features` channels. They also read a map of the image with `context` channels, which
    reads the class, if there are classes. The halves of a coupling are the even and the odd columns. The defaults are
    those of the authors' code for CIFAR-10 (github.com/aravindsrinivas/flowpp, run_cifar.py), without dropout.
    """

    features: int = 96
    blocks: int = 2
    components: int = 32
    couplings: int = 4
    heads: int = 4
    context: int = 32
    dropout: float = 0.0

    def setup(self):
        self.entry = Linear(self.context, (3, 3))
        self.convs = [GatedConv((3, 3), self.dropout) for _ in range(CONTEXT_CONVS)]
        network = functools.partial(
            GatedAttentionNet, self.features, self.blocks, self.heads, self.dropout
        )
        self.layers = mixture_steps(network, self.couplings, self.components)

    def noise(
        self,
        x: Integer[Array, "B H W C"],
        key: PRNGKey,
        levels: int,
        y: Vector = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B H W C"], Nats]:
        eps = jax.random.normal(key, x.shape)
        u, log_det = self.forward(eps, self.map_of(x, levels, y, train), train)
        return u, jnp.sum(gaussian.log_prob(eps).reshape(len(x), -1), axis=-1) - log_det

    def map_of(
        self, x: Integer[Array, "B H W C"], levels: int, y: Vector = None, train: bool = False
    ) -> Float[Array, "B H W//2 context"]:
        """What the couplings read of an image and its class."""
        h = self.entry(column_pairs(x.astype(jnp.result_type(float)) / levels - 0.5))
        for conv in self.convs:
            h = conv(h, train, y)
        return h

    def forward(
        self, eps: Float[Array, "B H W C"], context: VectorOrMap, train: bool = False
    ) -> tuple[Float[Array, "B H W C"], Nats]:
        """u, and log |det du/deps|."""
        h, log_det = chain(self.layers, column_pairs(eps), train, context)
        log_slope = jax.nn.log_sigmoid(h) + jax.nn.log_sigmoid(-h)
        log_det = log_det + jnp.sum(log_slope.reshape(len(h), -1), axis=-1)
        return columns(jax.nn.sigmoid(h)), log_det

    def inverse(self, u: Float[Array, "B H W C"], context: VectorOrMap) -> Float[Array, "B H W C"]:
        """eps."""
        h = column_pairs(jnp.log(u) - jnp.log1p(-u))
        return columns(unchain(self.layers, h, context))

    def check(self, event: Event) -> None:
        require(
            len(event.shape) == 3 and event.shape[1] % 2 == 0,
            f"VariationalDequantizer needs images of an even width, not {event.shape}",
        )
        require(
            self.features % self.heads == 0,
            f"VariationalDequantizer: heads {self.heads} must divide features {self.features}",
        )
