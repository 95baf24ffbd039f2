"""The KL term of the evidence lower bound, weighted in the loss and nowhere else.

loss = E_q -log p(x | z) + beta min(1, t / annealing) sum_g max(free_bits, KL_g), KL_g that of a group of latent units.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from gen_jax.density import bits_per_dim
from gen_jax.errors import InputError
from gen_jax.models.latent.base import GaussianLatent
from gen_jax.ops import gaussian
from gen_jax.typing import Metrics, PRNGKey, Scalar


@dataclass(frozen=True)
class KLTerm:
    """Weight `beta` (Higgins et al. 2017) after `annealing` steps (0: at once; Bowman et al. 2015, 1511.06349).

    `free_bits` is a floor in nats for each of `groups` of equal size (Kingma et al. 2016, 1606.04934, equation 15).
    """

    beta: float = 1.0
    annealing: int = 0
    free_bits: float = 0.0
    groups: int = 1

    def __post_init__(self):
        if min(self.beta, self.annealing, self.free_bits) < 0 or self.groups < 1:
            raise InputError("kl needs beta, annealing and free_bits >= 0 and groups >= 1")

    def weight(self, step: Int[Array, ""] | int) -> Float[Array, ""]:
        """beta min(1, step / annealing)."""
        return self.beta * jnp.minimum(1.0, step / self.annealing if self.annealing else 1.0)

    def floored(self, kl: Float[Array, " Z"]) -> Float[Array, ""]:
        """sum_g max(free_bits, KL of group g) of the mean KL of each unit; no gradient below the floor."""
        groups = jnp.sum(kl.reshape(self.groups, -1), axis=1)
        return jnp.sum(jnp.maximum(groups, self.free_bits))


class KLWeighted(GaussianLatent):
    """The loss of one draw with its KL in closed form; `log_prob` stays the bound itself."""

    kl: KLTerm = KLTerm()

    def setup(self):
        """A counter of steps where the weight depends on it; InputError where the units do not split."""
        super().setup()
        if self.latent % self.kl.groups:
            raise InputError(f"{self.latent} units do not split into kl.groups = {self.kl.groups}")
        if self.kl.annealing:
            self.step = self.variable("schedule", "step", jnp.zeros, (), jnp.int32)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of -log p(x | z) plus the weighted KL, nats an example; bits/dim and `kl` are not weighted."""
        del cond  # no classes
        mean, log_scale = self.encode(x)
        noise = self.noise(key, jnp.arange(1), len(x))
        likelihood, _ = self.log_weights(x, mean, log_scale, noise, train=True)
        units = jnp.mean(gaussian.kl_to_standard(mean, log_scale), axis=0)
        reconstruction, kl = -jnp.mean(likelihood), jnp.sum(units)
        weight = self.kl.weight(self.step.value if self.kl.annealing else 0)
        metrics = {"reconstruction": reconstruction, "kl": kl, "kl_weight": weight}
        metrics["bits_per_dim"] = bits_per_dim(reconstruction + kl, self.event)
        return reconstruction + weight * self.kl.floored(units), metrics
