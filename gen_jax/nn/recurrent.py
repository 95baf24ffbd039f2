"""A recurrent layer over time or for one step, and what goes on from one batch to the next."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from gen_jax.ops import recurrent
from gen_jax.ops.recurrent import Cell, State


class Recurrent(nn.Module):
    """F cells and both their biases; the inputs come projected, W x of G = blocks F numbers a step, without bias."""

    cell: Cell
    features: int

    def setup(self):
        """Recurrent weights with orthogonal rows, each block of them of norm 1 on average."""
        cell, F = self.cell, self.features
        outputs = cell.blocks * F
        orthogonal = nn.initializers.orthogonal(cell.blocks**0.5)
        self.kernel = self.param("kernel", orthogonal, (F, outputs))
        self.bias = self.param("bias", nn.initializers.zeros, (outputs,))
        opened = [float(block == cell.open) for block in range(cell.blocks)]
        self.input_bias = self.param("input_bias", lambda _: jnp.repeat(jnp.array(opened), F))

    def __call__(
        self, state: State, inputs: Float[Array, "L B G"]
    ) -> tuple[State, Float[Array, "L B F"]]:
        """All steps: the last state and every output."""
        a = inputs + self.input_bias
        return recurrent.over_time(self.cell, state, a, self.kernel, self.bias)

    def step(self, state: State, inputs: Float[Array, "B G"]) -> State:
        """One step."""
        a = inputs + self.input_bias
        return recurrent.step(self.cell, state, a, self.kernel, self.bias)


class Carry(nn.Module):
    """A value in the collection `carry`: a row for each example, from one batch to the next."""

    @nn.compact
    def __call__(self, zero: PyTree) -> nn.Variable:
        """The variable; `zero` where it does not exist yet."""
        return self.variable("carry", "state", lambda: zero)
