"""Tables of counts: counting is the maximum-likelihood fit of a table, so here `loss` adds each batch to the counts.

Laplace smoothing with pseudo-count alpha: p(k) = (count_k + alpha) / (total + alpha levels).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from gen_jax.conditions import Cond
from gen_jax.density import bits_per_dim
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.typing import Metrics, PRNGKey, Scalar


class Counting(Sequence):
    """Conditionals from tables of counts; `loss` is the code length under the counts so far, then adds the batch.

    A subclass defines the shape of its table and how often a batch falls into each cell. After one epoch, if steps x
    batch_size is the number of examples, every example has been counted once.
    """

    alpha: float = 1.0

    @property
    def table_shape(self) -> tuple[int, ...]:
        """Contexts and, on the last axis, levels."""
        raise TypeError(f"{type(self).__name__} does not define its table")

    def increments(self, x: Integer[Array, "B *event"]) -> Float[Array, "*table"]:
        """How often each cell of the table occurs in the batch."""
        raise TypeError(f"{type(self).__name__} does not define its table")

    def setup(self):
        self.counts = self.variable("counts", "table", jnp.zeros, self.table_shape)

    def log_table(self) -> Float[Array, "*table"]:
        """The smoothed log-probabilities, normalised over the last axis."""
        smoothed = self.counts.value + self.alpha
        return jnp.log(smoothed) - jnp.log(jnp.sum(smoothed, axis=-1, keepdims=True))

    def log_rows(self, time: Time) -> Float[Array, "*rows levels"]:
        """`log_table` for all sites, or for the site `time`; for tables whose first axis is the site."""
        table = self.log_table()
        return table if time is None else lax.dynamic_index_in_dim(table, time, keepdims=False)

    def head_params(self, log_probs: Float[Array, "*batch levels"]) -> Float[Array, "*batch P"]:
        """The head's parameters for these log-probabilities: a log-odds for two levels, else logits."""
        return log_probs[..., 1:] - log_probs[..., :1] if self.levels == 2 else log_probs

    def loss(  # pyright: ignore[reportIncompatibleMethodOverride]  of whole examples only
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Code length of the batch under the counts before it, nats per dimension."""
        nats = -jnp.mean(self.log_prob(x, key, cond))
        if not self.is_initializing():
            self.counts.value = self.counts.value + self.increments(x)
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event)}
