"""Times of training drawn in proportion to the size of their loss: p(t) ~ sqrt(E L_t^2), which has the least variance.

The mean square is that of the last losses at each t; until every t has them, times are uniform. A loss at t has the
weight 1 / (T p(t)), so its mean is that over uniform times, whatever p is (Nichol and Dhariwal 2021, 2102.09672,
section 3.3; as in github.com/openai/improved-diffusion, a small part of the times is uniform).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.errors import InputError
from gen_jax.typing import PRNGKey


@dataclass(frozen=True)
class ImportanceTimes:
    """p(t) from the last `history` losses at each t, mixed with a fraction `uniform` of uniform times."""

    history: int = 10
    uniform: float = 1e-3

    def __post_init__(self):
        if self.history < 1 or not 0 < self.uniform <= 1:
            raise InputError("times needs history >= 1 and 0 < uniform <= 1")

    def start(self, timesteps: int) -> Float[Array, "T columns"]:
        """The state: for each t its last losses, the newest last, then how many it has had. All floats.

        Under a mapped axis states are averaged over the devices, which leaves p a distribution and the loss unbiased.
        """
        return jnp.zeros((timesteps, self.history + 1), jnp.result_type(float))

    def log_probabilities(self, state: Float[Array, "T columns"]) -> Float[Array, " T"]:
        """log p(t) for t = 1..T."""
        losses, counts, timesteps = state[:, :-1], state[:, -1], len(state)
        size = jnp.sqrt(jnp.mean(losses**2, axis=1))
        total = jnp.sum(size)
        known = jnp.all(counts >= self.history) & (total > 0)
        p = size / jnp.where(known, total, 1) * (1 - self.uniform) + self.uniform / timesteps
        return jnp.where(known, jnp.log(p), -math.log(timesteps))

    def draw(
        self, state: Float[Array, "T columns"], key: PRNGKey, n: int
    ) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
        """n times in 1..T, and the weights 1 / (T p(t)) of their losses."""
        log_p = self.log_probabilities(state)
        place = jax.random.categorical(key, log_p, shape=(n,))
        return place + 1, jnp.exp(-log_p[place]) / len(state)

    def recorded(
        self, state: Float[Array, "T columns"], t: Int[Array, " n"], losses: Float[Array, " n"]
    ) -> Float[Array, "T columns"]:
        """The state after these losses at these times, row by row."""

        def one(state: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
            t, loss = row
            before = state[t - 1]
            now = jnp.concatenate([before[1:-1], jnp.stack([loss, before[-1] + 1])])
            return state.at[t - 1].set(now), None

        return lax.scan(one, state, (t, losses.astype(state.dtype)))[0]
