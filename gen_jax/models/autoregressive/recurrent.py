"""RNN, LSTM, GRU: log p(x) = sum_t log p(x_t | h_t), h_t the top state after x_1, ..., x_{t-1}.

Layers of cells over the values in raster order, the value before as a one-hot input and zeros before the first:
characters of a text by truncated back-propagation, or images. RNN (Elman 1990; Mikolov, Karafiat, Burget, Cernocky and
Khudanpur 2010, "Recurrent neural network based language model"); LSTM (Hochreiter and Schmidhuber 1997; Gers,
Schmidhuber and Cummins 2000; for characters Graves 2013, 1308.0850, and Karpathy's char-rnn 2015); GRU (Cho, van
Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk and Bengio 2014, 1406.1078). The equations of the cells stand in
`ops/recurrent.py`. Dropout acts between layers, not over time (Zaremba, Sutskever and Vinyals 2014, 1409.2329).
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from gen_jax.check import require
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.ops import recurrent
from gen_jax.ops.recurrent import Cell, State


class Layer(nn.Module):
    """F cells and both their biases; the inputs come projected, W x of G = blocks F numbers a step, without bias."""

    cell: Cell
    features: int

    @nn.compact
    def __call__(
        self, state: State, inputs: Float[Array, "*L B G"], time: Time
    ) -> tuple[State, Float[Array, "*L B F"]]:
        """The state after the inputs and every output; recurrent weights have orthogonal rows of norm 1 a block."""
        cell, F = self.cell, self.features
        outputs = cell.blocks * F
        orthogonal = nn.initializers.orthogonal(cell.blocks**0.5)
        kernel = self.param("kernel", orthogonal, (F, outputs))
        bias = self.param("bias", nn.initializers.zeros, (outputs,))
        opened = [float(block == cell.open) for block in range(cell.blocks)]
        input_bias = self.param("input_bias", lambda _: jnp.repeat(jnp.array(opened), F))
        a = inputs + input_bias
        if time is None:
            return recurrent.over_time(cell, state, a, kernel, bias)
        state = recurrent.step(cell, state, a, kernel, bias)
        return state, state[0]


class Carry(nn.Module):
    """A value for each example that goes on: over times in the collection `cache`, over batches in `carry`."""

    @nn.compact
    def __call__(self, zero: PyTree, collection: str = "carry") -> nn.Variable:
        """The variable; `zero` where it does not exist yet."""
        return self.variable(collection, "state", lambda: zero)


class Context(NamedTuple):
    """All that a sequence hands on: the value before plus one, 0 where there is none, and the state of each layer."""

    previous: Int[Array, " B"]
    states: tuple[State, ...]


class Recurrent(Sequence):
    """Sequences, or images of any number of levels in raster order.

    `carry`: the events of a split are consecutive windows of one text. In training the state goes on from each window
    to the next through the collection `carry`, and gradients stop at the edge (truncated back-propagation). Evaluation
    hands it on too: the likelihood of the text as one sequence. `log_prob` by itself always starts from a zero state,
    as do sampling, compression and certification, so a window from the middle of a text costs more there.
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
        self.symbols = nn.Embed(self.levels, outputs, embedding_init=init)
        self.inputs = [nn.Dense(outputs, use_bias=False) for _ in range(1, self.depth)]
        self.layers = [Layer(self.cell, self.features) for _ in range(self.depth)]
        self.logits = nn.Dense(self.head.size)
        self.drop = nn.Dropout(self.dropout)
        self.kept = Carry()

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        begin = self.nothing(x.shape[0])
        kept = self.memory(begin, time)
        if kept is not None:
            begin = lax.stop_gradient(kept.value)
        values = last = x + 1
        if time is None:
            values = jnp.concatenate([begin.previous[None], values.T])
            values, last = values[:-1], values[-1]
        inputs, states = self.look_up(values), []
        for i, layer in enumerate(self.layers):
            if i:
                inputs = self.inputs[i - 1](self.drop(inputs, deterministic=not train))
            state, inputs = layer(begin.states[i], inputs, time)
            states.append(state)
        params = self.logits(self.drop(inputs, deterministic=not train))
        if kept is not None and not self.is_initializing():
            kept.value = Context(last, tuple(states))
        return params if time is not None else jnp.swapaxes(params, 0, 1)

    def look_up(self, previous: Int[Array, "*batch"]) -> Float[Array, "*batch G"]:
        """W of the value before as a one-hot vector: its row, zeros where there is none."""
        return jnp.where(previous[..., None] > 0, self.symbols(jnp.maximum(previous - 1, 0)), 0)

    def nothing(self, n: int) -> Context:
        """The context of n sequences that begin."""
        state = (jnp.zeros((n, self.features)),) * self.cell.states
        return Context(jnp.zeros(n, jnp.int32), (state,) * self.depth)

    def memory(self, begin: Context, time: Time) -> nn.Variable | None:
        """Where the context goes on, over times or over batches; None where it does not."""
        if time is not None:
            return self.kept(begin, "cache")
        carried = self.carry and self.is_mutable_collection("carry")
        return self.kept(begin, "carry") if carried else None

    def check(self) -> None:
        """InputError on sizes that cannot work."""
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

    The bias of the forget gate f starts at 1.
    """

    system: ClassVar[str] = "lstm"

    cell: ClassVar[Cell] = recurrent.LSTM


class GRU(Recurrent):
    """Layers of h_t = (1 - z) tanh(a_n + r u_n) + z h_{t-1}, gates r and z from a = W x_{t-1} + b, u = U h_{t-1} + c.

    The reset gate r acts after the matrix product, as in cuDNN and unlike in the paper: `ops/recurrent.py`.
    """

    system: ClassVar[str] = "gru"

    cell: ClassVar[Cell] = recurrent.GRU
