"""RNN-NADE: log p(v) = sum_t log NADE(v_t; b + V' h_t, c + W' h_t), h_t = cell(h_{t-1}, v_{t-1}).

Sequences of vectors, such as piano rolls: a recurrent network reads the steps before t, and its state h_t shifts the
biases of a NADE over the values of step t; the weights of the NADE are the same at all steps (Boulanger-Lewandowski,
Bengio and Vincent 2012, 1206.6392, section 5; NADE: `ops/nade.py`; cells: `ops/recurrent.py`). Deviations: h_0 is the
cell's output on zeros, not a free vector; LSTM and GRU cells, dropout on h.
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.check import require
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.nn.conv import Dense
from gen_jax.nn.recurrent import Carry, Layer
from gen_jax.ops import nade, recurrent
from gen_jax.ops.loops import once
from gen_jax.ops.recurrent import State
from gen_jax.ops.scaling import num_indicators, to_indicators

CELLS = {"rnn": recurrent.TANH, "lstm": recurrent.LSTM, "gru": recurrent.GRU}


class Context(NamedTuple):
    """The step before as indicators, zeros if there is none, and the state of the cells after the steps before it."""

    before: Float[Array, "B D_I"]
    state: State


class Now(NamedTuple):
    """A step of which some values are known: its indicators, the state of the cells, a_d and the outputs' biases."""

    known: Float[Array, "B D I"]
    state: State
    a: Float[Array, "B H"]
    bias: Float[Array, "B D P"]


class RNNNADE(Sequence):
    """Events (T, ...): T steps of D values each. `features` recurrent cells, `hidden` units of the NADE.

    `carry`: the events of a split are consecutive windows of sequences. In training each window starts from the last
    state of the window before, through the collection `carry`, and from nothing where a sequence begins; gradients stop
    between windows. Evaluation does the same. `log_prob` by itself always starts from nothing.
    """

    system: ClassVar[str] = "rnn_nade"

    features: int = 100
    hidden: int = 150
    cell: str = "rnn"  # or lstm, gru
    dropout: float = 0.0
    carry: bool = False

    def setup(self):
        self.check()
        cell, D, H, P = CELLS[self.cell], self.values, self.hidden, self.head.size
        inputs = num_indicators(self.levels)
        init = nn.initializers.variance_scaling
        self.inputs = Dense(cell.blocks * self.features, use_bias=False)
        self.layer = Layer(cell, self.features)
        self.drop = nn.Dropout(self.dropout)
        self.to_hidden = Dense(H)  # its bias is c
        self.to_outputs = Dense(D * P)  # its bias is b
        fan_in = init(1.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2)
        self.kernel = self.param("kernel", fan_in, (D, inputs, H))
        fan_in = init(1.0, "fan_in", "normal", in_axis=2, out_axis=1, batch_axis=0)
        self.out_kernel = self.param("out_kernel", fan_in, (D, P, H))
        self.kept = Carry()

    @property
    def values(self) -> int:
        """D, the number of values of a step."""
        return self.event.size // self.event.shape[0]

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        if time is not None:
            return self.site(x, time)
        n, T, D = len(x), self.event.shape[0], self.values
        steps = x.reshape(n, T, D)
        v = self.indicators(steps).reshape(n, T, -1)
        start = self.nothing(n)
        carried = self.carry and self.is_mutable_collection("carry")
        memory = self.kept(start) if carried else None
        if memory is not None:
            start = lax.stop_gradient(memory.value)
        before = jnp.concatenate([start.before[None], jnp.swapaxes(v, 0, 1)[:-1]])
        state, h = self.layer(start.state, self.inputs(before), None)
        if memory is not None and not self.is_initializing():
            memory.value = Context(v[:, -1], state)
        h = self.drop(jnp.swapaxes(h, 0, 1).reshape(n * T, -1), deterministic=not train)
        shared = (self.kernel, self.out_kernel, self.to_hidden(h), steps.reshape(n * T, D))
        outputs = self.to_outputs(h).reshape(n * T, D, -1) + nade.conditionals(*shared)
        return outputs.reshape(n, T * D, -1)

    def site(self, x: Int[Array, " B"], time: Int[Array, ""]) -> Float[Array, "B P"]:
        """The parameters of one site given the value before. The recurrent network moves when a step begins."""
        n, D, place = len(x), self.values, time % self.values
        known = jnp.zeros((n, D, num_indicators(self.levels)), self.kernel.dtype)
        start = Now(
            known,
            self.nothing(n).state,
            jnp.zeros((n, self.hidden), self.kernel.dtype),
            jnp.zeros((n, D, self.head.size), self.kernel.dtype),
        )
        memory = self.kept(start, "cache")
        now: Now = memory.value
        before = (time - 1) % D
        known = now.known.at[:, before].set(self.indicators(x))

        module, variables = self.unbind()

        def begin(now: Now) -> Now:
            return module.apply(variables, now, time, method="begun")  # pyright: ignore[reportReturnType]

        a = nade.absorb(now.a, self.kernel[before], x)
        now = once(place == 0, begin, Now(known, now.state, a, now.bias))
        memory.value = now
        return now.bias[:, place] + nade.logits(now.a, self.out_kernel[place])

    def begun(self, now: Now, time: Int[Array, ""]) -> Now:
        """The next step: the state of the cells after the known step, and the biases of the NADE."""
        n, D = now.known.shape[:2]
        state, h = self.layer(now.state, self.inputs(now.known.reshape(n, -1)), time)
        return Now(now.known, state, self.to_hidden(h), self.to_outputs(h).reshape(n, D, -1))

    def indicators(self, x: Int[Array, "*shape"]) -> Float[Array, "*shape I"]:
        """Values as inputs; zeros for no value."""
        return to_indicators(x, num_indicators(self.levels), self.kernel.dtype)

    def nothing(self, n: int) -> Context:
        """What stands before the first step."""
        inputs = self.values * num_indicators(self.levels)
        state = (jnp.zeros((n, self.features)),) * CELLS[self.cell].states
        return Context(jnp.zeros((n, inputs)), state)

    def check(self) -> None:
        require(
            len(self.event.shape) >= 2,
            f"rnn_nade needs events of two axes or more, steps first, not {self.event.shape}",
        )
        require(
            self.cell in CELLS, f"rnn_nade knows the cells {', '.join(CELLS)}, not {self.cell!r}"
        )
        require(
            min(self.features, self.hidden) >= 1 and 0 <= self.dropout < 1,
            "rnn_nade needs features >= 1, hidden >= 1 and dropout in [0, 1)",
        )
