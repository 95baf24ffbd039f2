"""Loops of steps that compute something only now and then."""

from collections.abc import Callable
from typing import TypeVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

State = TypeVar("State")


def once(when: Bool[Array, ""], turn: Callable[[State], State], state: State) -> State:
    """turn(state) where `when` holds, else `state`.

    This is a loop of at most one turn instead of a `lax.cond`: a loop updates its carry in place, a cond copies it.
    """
    return lax.while_loop(
        lambda carry: carry[0],
        lambda carry: (jnp.array(False), turn(carry[1])),
        (jnp.asarray(when), state),
    )[1]
