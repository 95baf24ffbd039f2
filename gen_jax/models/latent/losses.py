"""The losses of latent models: the bound with a weighted KL in closed form, and the bound with K draws."""

import functools
import math
import operator
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from gen_jax.check import require
from gen_jax.conditions import Cond
from gen_jax.density import bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.models.latent.base import LatentModel
from gen_jax.models.latent.estimators import Draw, Estimator, Reparameterised
from gen_jax.typing import Metrics, PRNGKey, Scalar


@dataclass(frozen=True)
class KLTerm:
    """The weight of the KL in the loss: it grows to `beta` (Higgins et al. 2017) over `annealing` steps.

    (Bowman et al. 2015, 1511.06349; 0: `beta` from the first step.) `free_bits` is the least KL, in nats, that counts
    for each group of latents, or for each of `groups` parts of equal size of it (Kingma et al. 2016, 1606.04934,
    equation 15).
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
        """sum_g max(free_bits, KL_g) from the mean KL of each unit; no gradient below the floor."""
        groups = jnp.sum(kl.reshape(self.groups, -1), axis=1)
        return jnp.sum(jnp.maximum(groups, self.free_bits))


class KLWeighted(LatentModel):
    """The loss with one draw of z and the KL in closed form, weighted by `kl`; `log_prob` is the plain bound.

    At training step t it is E_q -log p(x | z) + beta min(1, t / annealing) sum_g max(free_bits, KL_g), where KL_g is
    the KL of group g, or of a part of it.
    """

    kl: KLTerm = KLTerm()

    def setup(self):
        super().setup()
        if self.kl.annealing:
            self.step = self.variable("schedule", "step", jnp.zeros, (), jnp.int32)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of -log p(x | z) plus the weighted KL, nats an example; the logged bits/dim and `kl` are unweighted.

        If `loss_per` is "dimension", the whole is divided by the number of dimensions.
        """

        def choose(k, group, p, q):
            z, _ = group.draw(q, group.noise(self.key_of(fold_in(key, 0), k), len(x)))
            return z, jnp.mean(group.kl(q, p).reshape(len(x), -1), axis=0)

        state, units = self.visit(self.begin(len(x), x, cond), choose)
        reconstruction = -jnp.mean(self.log_likelihood(x, state, train=True))
        kl, floored = (
            functools.reduce(operator.add, map(total, units))
            for total in (jnp.sum, self.kl.floored)
        )
        weight = self.kl.weight(self.step.value if self.kl.annealing else 0)
        metrics = {"reconstruction": reconstruction, "kl": kl, "kl_weight": weight}
        metrics["bits_per_dim"] = bits_per_dim(reconstruction + kl, self.event)
        nats = reconstruction + weight * floored
        return nats / (self.event.size if self.loss_per == "dimension" else 1), metrics

    def check(self) -> None:
        super().check()
        for group in self.groups:
            size = math.prod(group.shape)
            require(
                size % self.kl.groups == 0,
                f"{size} units do not split into kl.groups = {self.kl.groups}",
            )


class ImportanceWeighted(LatentModel):
    """The loss is the negative bound with `draws` draws; `estimator` decides how its gradient is estimated."""

    draws: int = 50
    estimator: Estimator = Reparameterised()

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of the negative bound with `draws` importance samples, nats an example."""
        state, number, terms = self.begin(len(x), x, cond), jnp.arange(self.draws), []

        def visited(draw: Draw):
            terms.append(self.log_terms(x, state, key, number, draw, train=True))
            return terms[-1]

        nats = -jnp.mean(self.estimator.bound(visited))
        likelihood, (ratio, *_) = terms[0]
        metrics = {"reconstruction": -jnp.mean(likelihood), "kl": -jnp.mean(ratio)}
        return nats, {**metrics, "bits_per_dim": bits_per_dim(nats, self.event)}

    def check(self) -> None:
        super().check()
        require(self.draws >= 1, f"draws must be at least 1, not {self.draws}")
        self.estimator.check(self.groups, self.draws)
