"""Vector quantisation: k(z) = argmin_j |z - e_j|^2, straight-through gradients, and codes as moving averages.

van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, equations 1 to 3 and appendix A.1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key


class Uses(NamedTuple):
    """How often each code is used, and the sum of the vectors that use it, both divided by the number of vectors.

    So they are means: for a batch of equal parts the mean of those of the parts.
    """

    shares: Float[Array, " K"]
    sums: Float[Array, "K D"]


def nearest(z: Float[Array, "*batch D"], codebook: Float[Array, "K D"]) -> Int[Array, "*batch"]:
    """argmin_j |z - e_j|^2, the lowest j if several are equally near."""
    product = jnp.matmul(z, codebook.T, precision=lax.Precision.HIGHEST)
    return jnp.argmin(jnp.sum(codebook**2, axis=-1) - 2 * product, axis=-1).astype(jnp.int32)


def straight_through(
    z: Float[Array, "*shape"], e: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """e, bit for bit; the gradient passes to z unchanged."""
    return lax.stop_gradient(e) + (z - lax.stop_gradient(z))


def codebook_loss(z: Float[Array, "*shape"], e: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Mean of (sg(z) - e)^2 over all numbers: it moves the codes, not the encoder."""
    return jnp.mean((lax.stop_gradient(z) - e) ** 2)


def commitment_loss(z: Float[Array, "*shape"], e: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Mean of (z - sg(e))^2 over all numbers: it moves the encoder, not the codes."""
    return jnp.mean((z - lax.stop_gradient(e)) ** 2)


def uses(z: Float[Array, "N D"], codes: Int[Array, " N"], num_codes: int) -> Uses:
    """The uses in a batch of vectors z with nearest codes `codes`."""
    taken = jax.nn.one_hot(codes, num_codes, dtype=z.dtype)
    sums = jnp.matmul(taken.T, z, precision=lax.Precision.HIGHEST) / len(z)
    return Uses(jnp.mean(taken, axis=0), sums)


def averaged(before: Uses, batch: Uses, decay: float) -> Uses:
    """decay before + (1 - decay) batch: linear, so the mean over devices is the result for the whole batch."""
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, before, batch)


def smoothed(shares: Float[Array, " K"], epsilon: float) -> Float[Array, " K"]:
    """Laplace smoothing, (N_j + epsilon) / (sum N + K epsilon) sum N, so that no share is zero."""
    total = jnp.sum(shares)
    return (shares + epsilon) / (total + len(shares) * epsilon) * total


def vectors(average: Uses, epsilon: float) -> Float[Array, "K D"]:
    """e_j = m_j / N_j; with the uses of one batch and epsilon 0 this is a step of k-means."""
    return average.sums / smoothed(average.shares, epsilon)[:, None]


def restarted(
    average: Uses, dead: Bool[Array, " K"], z: Float[Array, "N D"], key: Key[Array, ""]
) -> Uses:
    """Dead codes restart at random vectors of the batch, with even use (Dhariwal et al. 2020, 2005.00341)."""
    num_codes = len(dead)
    drawn = z[jax.random.randint(key, (num_codes,), 0, len(z))]
    shares = jnp.where(dead, 1 / num_codes, average.shares)
    return Uses(shares, jnp.where(dead[:, None], drawn / num_codes, average.sums))


def perplexity(shares: Float[Array, " K"]) -> Float[Array, ""]:
    """exp(entropy) of the use of the codes: K if all are used equally, 1 if only one is used."""
    return jnp.exp(-jnp.sum(shares * jnp.log(jnp.where(shares > 0, shares, 1.0))))
