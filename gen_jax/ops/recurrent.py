"""Recurrent cells: s_t = cell(s_{t-1}, a_t, u_t) with a_t = W x_t + b and u_t = U h_{t-1} + c, and the scan over time.

A state is a tuple of arrays (B, F), of LSTM cells on an image (B, ..., F); the first is the output h. `a` does not
depend on the state, so one matrix product before the scan computes it for all steps. W and U have a bias each, as in
char-rnn (Karpathy 2015), PyTorch and cuDNN.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gen_jax.ops.convolution import gathered

State = tuple[Float[Array, "*batch F"], ...]


class Cell(NamedTuple):
    """A cell: its update, the number of blocks of F numbers in `a` and `u`, the number of arrays in a state.

    `open` is the block of a forget gate. Its bias is initially 1, so that the cell remembers (Gers et al. 2000).
    """

    update: Callable[[State, Float[Array, "B G"], Float[Array, "B G"]], State]
    blocks: int
    states: int
    open: int | None = None


def tanh(state: State, a: Float[Array, "B G"], u: Float[Array, "B G"]) -> State:
    """h' = tanh(a + u) (Elman 1990)."""
    del state  # u depends on it
    return (jnp.tanh(a + u),)


def lstm(state: State, a: Float[Array, "*batch G"], u: Float[Array, "*batch G"]) -> State:
    """[i, f, g, o] = a + u; c' = sigma(f) c + sigma(i) tanh(g); h' = sigma(o) tanh(c') (Gers et al. 2000)."""
    _, c = state
    i, f, g, o = jnp.split(a + u, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(state: State, a: Float[Array, "B G"], u: Float[Array, "B G"]) -> State:
    """r = sigma(a_r + u_r), z = sigma(a_z + u_z); n = tanh(a_n + r u_n); h' = (1 - z) n + z h.

    The reset gate acts after the matrix product, on u_n = U_n h + c_n, as in cuDNN. In Cho et al. (2014, 1406.1078) it
    acts before, on h; weights of one form do not fit the other.
    """
    (h,) = state
    (a_r, a_z, a_n), (u_r, u_z, u_n) = (jnp.split(x, 3, axis=-1) for x in (a, u))
    z = jax.nn.sigmoid(a_z + u_z)
    n = jnp.tanh(a_n + jax.nn.sigmoid(a_r + u_r) * u_n)
    return ((1 - z) * n + z * h,)


TANH = Cell(tanh, blocks=1, states=1)
LSTM = Cell(lstm, blocks=4, states=2, open=1)
GRU = Cell(gru, blocks=3, states=1)


def step(
    cell: Cell,
    state: State,
    a: Float[Array, "B G"],
    kernel: Float[Array, "F G"],
    bias: Float[Array, " G"],
) -> State:
    """One step: u = h U + c, then the cell's update."""
    return cell.update(state, a, state[0] @ kernel + bias)


def over_time(
    cell: Cell,
    state: State,
    a: Float[Array, "L B G"],
    kernel: Float[Array, "F G"],
    bias: Float[Array, " G"],
) -> tuple[State, Float[Array, "L B F"]]:
    """All steps, one after the other: the last state and all outputs."""
    kernel = gathered(kernel)

    def body(state, a):
        state = step(cell, state, a, kernel, bias)
        return state, state[0]

    return lax.scan(body, state, a)
