"""Gated activation unit (van den Oord et al. 2016, 1606.05328, equation 2)."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

Halves = tuple[Float[Array, "*batch F"], Float[Array, "*batch F"]]


def gated_tanh(
    x: Float[Array, "*batch two_F"], terms: Halves | None = None
) -> Float[Array, "*batch F"]:
    """y = tanh(a) * sigmoid(b), where x = [a, b] along the last axis; `terms` are added to a and b."""
    a, b = _halves(x, terms)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def gated_linear(
    x: Float[Array, "*batch two_F"], terms: Halves | None = None
) -> Float[Array, "*batch F"]:
    """y = a * sigmoid(b), x = [a, b] as above (Dauphin et al. 2016, 1612.08083, equation 1)."""
    a, b = _halves(x, terms)
    return a * jax.nn.sigmoid(b)


def term_halves(
    table: Float[Array, "W B two_F"],
    column: Int[Array, ""],
    group: Int[Array, ""] | int = 0,
    groups: int = 1,
) -> tuple[Float[Array, "B f"], Float[Array, "B f"]]:
    """One column of a table of terms, of one group of features: what is added to a and to b.

    Cut out one by one: XLA's code for the halves of what was cut out whole computes one exponential at a time on CPU.
    """
    _, batch, features = table.shape
    size = features // (2 * groups)
    start, sizes = features // 2, (1, batch, size)
    a, b = (
        lax.dynamic_slice(table, (column, 0, half * start + group * size), sizes)[0]
        for half in range(2)
    )
    return a, b


def _halves(x, terms):
    a, b = jnp.split(x, 2, axis=-1)
    return (a, b) if terms is None else (a + terms[0], b + terms[1])


def concat_elu(x: Float[Array, "*batch F"]) -> Float[Array, "*batch two_F"]:
    """[elu(x), elu(-x)] with one exponential for both (Salimans et al. 2017, after Shang et al. 2016, 1603.05201)."""
    positive = x > 0
    below = jnp.expm1(jnp.where(positive, -x, x))
    return jnp.concatenate([jnp.where(positive, x, below), jnp.where(positive, below, -x)], axis=-1)
