"""A layer of recurrent cells, for all times or one, and a state that is kept from time to time or batch to batch."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from gen_jax.ops import recurrent
from gen_jax.ops.recurrent import Cell, State


class Layer(nn.Module):
    """F cells with both biases. The inputs are W x without bias, G = blocks F numbers a step."""

    cell: Cell
    features: int

    @nn.compact
    def __call__(
        self, state: State, inputs: Float[Array, "*L B G"], time: Int[Array, ""] | None
    ) -> tuple[State, Float[Array, "*L B F"]]:
        """The last state and all outputs. The recurrent weights start orthogonal, with rows of norm 1 in each block."""
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
    """A state that is kept from time to time in the collection `cache`, or from batch to batch in `carry`."""

    @nn.compact
    def __call__(self, zero: PyTree, collection: str = "carry") -> nn.Variable:
        """The variable, which starts as `zero`."""
        return self.variable(collection, "state", lambda: zero)
