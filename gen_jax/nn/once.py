"""One turn of a loop where a condition holds: work that a few sites of a scan do."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp


def once(turn: Callable[[Any, Any], Any], module: nn.Module, when: Any, state: Any) -> Any:
    """turn(module, state) where `when` holds, else `state`.

    A loop of no or one turn, not a cond: a loop's carry stays in place, a cond copies what it hands through.
    """
    _, state = nn.while_loop(
        lambda _, carry: carry[0],  # pyright: ignore[reportArgumentType]  a traced bool
        lambda module, carry: (jnp.array(False), turn(module, carry[1])),
        module,
        (when, state),
    )
    return state
