"""The codebook of a vector quantiser: learned by its loss, or by averages of the encoder's outputs."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_jax.ops import vq
from gen_jax.typing import PRNGKey

INIT = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", in_axis=-1, out_axis=-2)
EPSILON = 1e-5  # of even use


class Codebook(nn.Module):
    """`codes` vectors of `size` numbers; `decay` None makes them parameters.

    Else they are quotients of averages in the collection `codebook`, which begin at the initial vectors under even use.
    Codes used less than `restart` times even use begin anew.
    """

    codes: int
    size: int
    decay: float | None
    restart: float

    def setup(self):
        """Declare parameters or averages."""
        shape = (self.codes, self.size)
        if self.decay is None:
            self.table = self.param("vectors", INIT, shape)
            return

        def even() -> Float[Array, " K"]:
            return jnp.full(self.codes, 1 / self.codes)

        def initial() -> Float[Array, "K D"]:
            return INIT(self.make_rng("params"), shape) / self.codes

        self.shares = self.variable("codebook", "shares", even)
        self.sums = self.variable("codebook", "sums", initial)

    @property
    def average(self) -> vq.Uses:
        """What the codes follow by."""
        return vq.Uses(self.shares.value, self.sums.value)

    @property
    def vectors(self) -> Float[Array, "K D"]:
        """All of them."""
        if self.decay is None:
            return self.table
        return vq.vectors(self.average, EPSILON / self.codes)

    def nearest(self, z: Float[Array, "*batch D"]) -> Int[Array, "*batch"]:
        """The code of each vector."""
        return vq.nearest(z, self.vectors)

    def __call__(self, codes: Int[Array, "*batch"]) -> Float[Array, "*batch D"]:
        """The vector of each code."""
        return self.vectors[codes]

    def update(self, z: Float[Array, "N D"], used: vq.Uses, key: PRNGKey) -> None:
        """Take in a batch of vectors and its `used`, after it was quantised; whether a code is dead was known before.

        Devices that saw parts of the batch average their results, a restarted code the vectors that each has drawn.
        """
        before = self.average
        after = vq.averaged(before, used, self.decay or 0.0)
        if self.restart:
            dead = before.shares < self.restart / self.codes
            after = vq.restarted(after, dead, z, key)
        self.shares.value, self.sums.value = after
