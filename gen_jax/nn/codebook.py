"""The codes of a VQ-VAE: vectors that are learned by a loss, or follow by moving averages (`ops/vq.py`)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_jax.ops import vq
from gen_jax.ops.convolution import gathered
from gen_jax.typing import PRNGKey

EPSILON = 1e-5  # added to the share of each code, as a fraction of even use
INIT = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", in_axis=-1, out_axis=-2)


class Codebook(nn.Module):
    """`codes` vectors of `size` numbers: parameters if `decay` is None, else quotients of two moving averages.

    The averages are in the collection `codebook`; they start from random vectors and even use. A code whose share is
    below `restart` times even use restarts at an encoder output.
    """

    codes: int
    size: int
    decay: float | None
    restart: float

    def setup(self):
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
        """The moving averages."""
        return vq.Uses(self.shares.value, self.sums.value)

    @property
    def vectors(self) -> Float[Array, "K D"]:
        """The vector of every code."""
        if self.decay is None:
            return gathered(self.table)
        return vq.vectors(self.average, EPSILON / self.codes)

    def nearest(self, z: Float[Array, "*batch D"]) -> Int[Array, "*batch"]:
        """The code of each vector."""
        return vq.nearest(z, self.vectors)

    def __call__(self, codes: Int[Array, "*batch"]) -> Float[Array, "*batch D"]:
        """The vector of each code."""
        return self.vectors[codes]

    def update(self, z: Float[Array, "N D"], used: vq.Uses, key: PRNGKey) -> None:
        """Move the averages towards the uses of a batch; whether a code restarts depends on earlier batches only.

        Under pmap the results are means over the devices: a restarted code is the mean of one vector from each.
        """
        before = self.average
        after = vq.averaged(before, used, self.decay or 0.0)
        if self.restart:
            dead = before.shares < self.restart / self.codes
            after = vq.restarted(after, dead, z, key)
        self.shares.value, self.sums.value = after
