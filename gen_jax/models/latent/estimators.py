"""Gradients of the bound with K draws, L_K = E log (1/K sum_k w_k), w_k = p(x, z_k) / q(z_k | x).

Each estimator computes L_K with a surrogate: its value is log (1/K sum_k w_k), its derivative is an unbiased estimate
of the gradient of L_K in all parameters. They differ in variance and in what they ask of the latents.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from gen_jax.check import require
from gen_jax.ops.importance import (
    importance_weighted_bound,
    leave_one_out_baselines,
    normalised_weights,
)
from gen_jax.ops.latents import Group
from gen_jax.typing import Nats

# Draws of one group: from (group, prior, posterior, noise) to z and terms that are summed over its latents. The noise
# of the first group has axes for draws and examples, (K, B, ...); its parameters have one for examples.
Draw = Callable[[Group, Any, Any, Array], tuple[Array, tuple[Array, ...]]]
# Visits all groups and x: gives log p(x | z) of every draw, and the terms summed over all groups.
Visit = Callable[[Draw], tuple[Float[Array, "K B"], tuple[Float[Array, "K B"], ...]]]


def reparameterised(group: Group, p: Any, q: Any, noise: Array) -> tuple[Array, tuple[Array, ...]]:
    """z from q, and log p(z) - log q(z); a Gaussian z carries the gradient of its parameters."""
    z, log_q = group.draw(q, noise)
    return z, (group.log_prob(p, z) - log_q,)


@dataclass(frozen=True)
class Reparameterised:
    """Gradients through z = m + s noise (Burda et al. 2015, 1509.00519, equation 13): for Gaussian latents."""

    def bound(self, visit: Visit) -> Nats:
        """L_K of each example."""
        likelihood, (ratio,) = visit(reparameterised)
        return importance_weighted_bound(likelihood + ratio)

    def check(self, groups: tuple[Group, ...], draws: int) -> None:
        """InputError if it does not apply to these latents."""
        require(
            all(group.continuous for group in groups),
            "the gradient of discrete latents is not reparameterised: choose estimator=VIMCO()",
        )


@dataclass(frozen=True)
class DReG:
    """The doubly reparameterised gradient (Tucker et al. 2018, 1810.04152, equation 8): for one Gaussian group.

    The parameters of q have the gradient sum_k v_k^2 (d log w_k / d z_k) (d z_k / d q) with normalised weights v, all
    others sum_k v_k d log w_k. Its signal-to-noise ratio grows with K, where that of `Reparameterised` falls. The
    weights take a second forward pass.
    """

    def bound(self, visit: Visit) -> Nats:
        likelihood, (ratio,) = visit(reparameterised)
        weights = stop_gradient(normalised_weights(likelihood + ratio))

        def draw(group, p, q, noise):
            z, _ = group.draw(q, noise)
            scale = weights.reshape(*weights.shape, *(1,) * (z.ndim - 2))
            fixed = stop_gradient(z)
            scaled = fixed + scale * (z - fixed)  # z, with `scale` times its gradient
            log_q = group.log_prob(jax.tree.map(stop_gradient, q), scaled)
            return scaled, (group.log_prob(p, scaled) - log_q,)

        likelihood, (ratio,) = visit(draw)
        return importance_weighted_bound(likelihood + ratio)

    def check(self, groups: tuple[Group, ...], draws: int) -> None:
        require(
            len(groups) == 1 and groups[0].continuous,
            "DReG is for one group of Gaussian latents",
        )


@dataclass(frozen=True)
class VIMCO:
    """The score function with leave-one-out baselines (Mnih and Rezende 2016, 1602.06725, equation 9): for any latents.

    The derivative is that of L_K at fixed z plus sum_k (L_K - L_{-k}) log q(z_k | x), where L_{-k} is L_K with log w_k
    replaced by the mean of the other logs (equation 8). The sum has no factor 1/K.
    """

    def bound(self, visit: Visit) -> Nats:
        def draw(group, p, q, noise):
            z = stop_gradient(group.draw(q, noise)[0])
            log_q = group.log_prob(q, z)
            return z, (group.log_prob(p, z) - log_q, log_q)

        likelihood, (ratio, log_q) = visit(draw)
        log_weights = likelihood + ratio
        bound = importance_weighted_bound(log_weights)
        signal = stop_gradient(bound - leave_one_out_baselines(log_weights))
        score = jnp.sum(signal * log_q, axis=0)
        return bound + score - stop_gradient(score)

    def check(self, groups: tuple[Group, ...], draws: int) -> None:
        require(
            draws >= 2, f"VIMCO compares each draw with the others: draws is {draws}, not 2 or more"
        )


Estimator = Reparameterised | DReG | VIMCO
