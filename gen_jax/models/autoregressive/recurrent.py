"""RNN, LSTM, GRU: log p(x) = sum_t log p(x_t | h_t), h_t the top state after x_1, ..., x_{t-1}.

Layers of cells read the values in order; the input at each time is the value before as a one-hot vector, zeros before
the first. The values are the characters of a text, with truncated back-propagation, or an image in raster order. RNN
(Elman 1990; Mikolov, Karafiat, Burget, Cernocky and Khudanpur 2010, "Recurrent neural network based language model");
LSTM (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000; for characters Graves 2013, 1308.0850, and
Karpathy's char-rnn 2015); GRU (Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk and Bengio 2014, 1406.1078).
The cells' equations are in `ops/recurrent.py`. Dropout acts between layers, not over time (Zaremba, Sutskever and
Vinyals 2014, 1409.2329).
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.check import require
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.nn.blocks import show
from gen_jax.nn.conv import Dense, Embed
from gen_jax.nn.recurrent import Carry, Layer
from gen_jax.ops import recurrent
from gen_jax.ops.recurrent import Cell, State


class Context(NamedTuple):
    """The value before plus one (0: there is none), and the state of each layer."""

    previous: Int[Array, " B"]
    states: tuple[State, ...]


class Recurrent(Sequence):
    """Sequences, or images of any number of levels in raster order.

    `carry`: the events of a split are consecutive windows of one text. In training each window starts from the last
    state of the window before, through the collection `carry`; gradients stop between windows (truncated
    back-propagation). Evaluation does the same, so the likelihood is that of the text as one sequence. `log_prob` by
    itself always starts from a zero state, as do sampling, compression and certification, so a window from the middle
    of a text costs more there.
    """

    cell: ClassVar[Cell]

    features: int = 128
    depth: int = 2
    dropout: float = 0.0
    carry: bool = False

    def setup(self):
        self.check()
        outputs = self.cell.blocks * self.features
        init = nn.initializers.lecun_normal()
        self.symbols = Embed(self.levels, outputs, embedding_init=init)
        self.inputs = [Dense(outputs, use_bias=False) for _ in range(1, self.depth)]
        self.layers = [Layer(self.cell, self.features) for _ in range(self.depth)]
        self.logits = Dense(self.head.size)
        self.drop = nn.Dropout(self.dropout)
        self.kept = Carry()

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        state = (jnp.zeros((len(x), self.features)),) * self.cell.states
        start = Context(jnp.zeros(len(x), jnp.int32), (state,) * self.depth)
        memory = self.memory(start, time)
        if memory is not None:
            start = lax.stop_gradient(memory.value)
        values = last = x + 1
        if time is None:
            values = jnp.concatenate([start.previous[None], values.T])
            values, last = values[:-1], values[-1]
        # W x for a one-hot vector x is a row of W; there is none before the first value
        inputs = jnp.where(values[..., None] > 0, self.symbols(jnp.maximum(values - 1, 0)), 0)
        states = []
        for i, layer in enumerate(self.layers):
            if i:
                inputs = self.inputs[i - 1](self.drop(inputs, deterministic=not train))
            state, inputs = layer(start.states[i], inputs, time)
            show(self, jnp.swapaxes(inputs, 0, 1))  # the batch first
            states.append(state)
        params = self.logits(self.drop(inputs, deterministic=not train))
        if memory is not None and not self.is_initializing():
            memory.value = Context(last, tuple(states))
        return params if time is not None else jnp.swapaxes(params, 0, 1)

    def memory(self, start: Context, time: Time) -> nn.Variable | None:
        """The variable that keeps the context, from time to time or from batch to batch; None if there is none."""
        if time is not None:
            return self.kept(start, "cache")
        carried = self.carry and self.is_mutable_collection("carry")
        return self.kept(start, "carry") if carried else None

    def check(self) -> None:
        require(
            min(self.features, self.depth) >= 1 and 0 <= self.dropout < 1,
            f"{type(self).__name__} needs features >= 1, depth >= 1 and dropout in [0, 1)",
        )


class RNN(Recurrent):
    """Layers of h_t = tanh(W x_{t-1} + U h_{t-1} + b)."""

    system: ClassVar[str] = "rnn"

    cell: ClassVar[Cell] = recurrent.TANH


class LSTM(Recurrent):
    """Layers of h_t = sigma(o) tanh(c_t), c_t = sigma(f) c_{t-1} + sigma(i) tanh(g), without peepholes.

    The bias of the forget gate f is initially 1.
    """

    system: ClassVar[str] = "lstm"

    cell: ClassVar[Cell] = recurrent.LSTM


class GRU(Recurrent):
    """Layers of h_t = (1 - z) tanh(a_n + r u_n) + z h_{t-1}, gates r and z from a = W x_{t-1} + b, u = U h_{t-1} + c.

    The reset gate r acts after the matrix product, as in cuDNN; in the paper it acts before (`ops/recurrent.py`).
    """

    system: ClassVar[str] = "gru"

    cell: ClassVar[Cell] = recurrent.GRU
