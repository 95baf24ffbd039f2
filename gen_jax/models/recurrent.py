"""What recurrent systems share: log p(x) = sum_t log p(x_t | h_t), h_t = the top state after x_1, ..., x_{t-1}.

Layers of cells, the values one after the other in raster order, the value before as a one-hot input and nothing (zeros)
before the first. Dropout acts between layers, not over time (Zaremba, Sutskever and Vinyals 2014, 1409.2329).
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from gen_jax.errors import InputError
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.recurrent import Carry, Recurrent
from gen_jax.ops.recurrent import Cell, State


class Context(NamedTuple):
    """All that a sequence hands on: the value before plus one, 0 where there is none, and the state of each layer."""

    previous: Int[Array, " B"]
    states: tuple[State, ...]


class RecurrentModel(Autoregressive):
    """Sequences, or images of any number of levels in raster order.

    `carry`: the events of a split are windows of one text. In training the state goes on from each window to the next
    through the collection `carry`, and gradients stop at the edge (truncated back-propagation). Evaluation hands it on
    too: the likelihood of the text as one sequence. `log_prob` alone is that of an event from a zero state in any case,
    and with it samples, files and the certificate: a window in the middle of a text costs more so.
    """

    cell: ClassVar[Cell]

    features: int = 128
    depth: int = 2
    dropout: float = 0.0
    carry: bool = False

    def setup(self):
        """Declare the input products, the layers and the output; InputError on sizes that cannot work."""
        if min(self.features, self.depth) < 1 or not 0 <= self.dropout < 1:
            raise InputError(
                f"{type(self).__name__} needs features >= 1, depth >= 1 and dropout in [0, 1)"
            )
        outputs = self.cell.blocks * self.features
        init = nn.initializers.lecun_normal()
        self.symbols = nn.Embed(self.levels, outputs, embedding_init=init)
        self.inputs = [nn.Dense(outputs, use_bias=False) for _ in range(1, self.depth)]
        self.layers = [Recurrent(self.cell, self.features) for _ in range(self.depth)]
        self.logits = nn.Dense(self.head.size)
        self.drop = nn.Dropout(self.dropout)
        self.kept = Carry()

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Parameters of every value's distribution: a scan a layer."""
        begin = self.init_cache(x.shape[0])
        if not (self.carry and self.is_mutable_collection("carry")):
            return self._window(begin, x, train)[1]
        kept = self.kept(begin)
        end, params = self._window(lax.stop_gradient(kept.value), x, train)
        if not self.is_initializing():
            kept.value = end
        return params

    def _window(
        self, begin: Context, x: Integer[Array, "B *event"], train: bool
    ) -> tuple[Context, Float[Array, "B sites P"]]:
        """What comes after the values of x, and the parameters of each of them."""
        x = x.reshape(x.shape[0], -1).T.astype(jnp.int32)
        previous = jnp.concatenate([begin.previous[None], x + 1])
        inputs, states = self._look_up(previous[:-1]), []
        for i, layer in enumerate(self.layers):
            if i:
                inputs = self.inputs[i - 1](self.drop(inputs, deterministic=not train))
            state, inputs = layer(begin.states[i], inputs)
            states.append(state)
        params = self.logits(self.drop(inputs, deterministic=not train))
        return Context(previous[-1], tuple(states)), jnp.swapaxes(params, 0, 1)

    def init_cache(self, n: int, cond: Array | None = None) -> Context:
        """Zeros: nothing before."""
        zero = jnp.zeros((n, self.features))
        state = (zero,) * self.cell.states
        return Context(jnp.zeros(n, jnp.int32), (state,) * self.depth)

    def step(self, cache: Context, site: Int[Array, ""]) -> tuple[Context, Float[Array, "B P"]]:
        """Every layer takes one step."""
        inputs, states = self._look_up(cache.previous), []
        for i, layer in enumerate(self.layers):
            states.append(layer.step(cache.states[i], self.inputs[i - 1](inputs) if i else inputs))
            inputs = states[-1][0]
        return cache._replace(states=tuple(states)), self.logits(inputs)

    def write(self, cache: Context, site: Int[Array, ""], value: Int[Array, "B 1"]) -> Context:
        """Remember the value."""
        return cache._replace(previous=value[:, 0].astype(jnp.int32) + 1)

    def _look_up(self, previous: Int[Array, "*batch"]) -> Float[Array, "*batch G"]:
        """W of the value before as a one-hot vector: its row, zeros where there is none."""
        return jnp.where(previous[..., None] > 0, self.symbols(jnp.maximum(previous - 1, 0)), 0)
