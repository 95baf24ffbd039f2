"""A square matrix W by its LU factors: det W is a product, and W^-1 x is two triangular solves.

x W = (x_p L) U, where x_p has the entries of x in the order `permutation`, L is a lower triangle with ones on its
diagonal, and U an upper triangle with the diagonal sign exp(d) (Kingma and Dhariwal 2018, 1807.03039, equation 10). So
log |det W| is the sum of d. `packed` has L below the diagonal, d on it and U above, which are as many numbers as W has.
"""

import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from gen_jax.ops.convolution import dense


def factors(
    matrix: Float[Array, "C C"],
) -> tuple[Float[Array, "C C"], Int[Array, " C"], Float[Array, " C"]]:
    """`packed`, `permutation` and `sign` of a matrix, with partial pivoting."""
    both, _, permutation = lax.linalg.lu(matrix)
    diagonal = jnp.diagonal(both)
    packed = both + jnp.diag(jnp.log(jnp.abs(diagonal)) - diagonal)
    return packed, permutation, jnp.sign(diagonal)


def log_abs_det(packed: Float[Array, "C C"]) -> Float[Array, ""]:
    """log |det W|."""
    return jnp.trace(packed)


def product(
    x: Float[Array, "*batch C"],
    packed: Float[Array, "C C"],
    permutation: Int[Array, " C"],
    sign: Float[Array, " C"],
) -> Float[Array, "*batch C"]:
    """x W over the last axis."""
    lower, upper = _triangles(packed, sign)
    return dense(x[..., permutation], lower @ upper)


def solution(
    y: Float[Array, "*batch C"],
    packed: Float[Array, "C C"],
    permutation: Int[Array, " C"],
    sign: Float[Array, " C"],
) -> Float[Array, "*batch C"]:
    """The inverse of `product`: y W^-1."""
    lower, upper = _triangles(packed, sign)
    columns = y.reshape(-1, y.shape[-1]).T
    columns = solve_triangular(upper, columns, trans="T")
    columns = solve_triangular(lower, columns, trans="T", lower=True, unit_diagonal=True)
    return columns[jnp.argsort(permutation)].T.reshape(y.shape)


def _triangles(
    packed: Float[Array, "C C"], sign: Float[Array, " C"]
) -> tuple[Float[Array, "C C"], Float[Array, "C C"]]:
    """L and U."""
    ones = jnp.eye(len(packed), dtype=packed.dtype)
    diagonal = jnp.diag(sign * jnp.exp(jnp.diagonal(packed)))
    return jnp.tril(packed, -1) + ones, jnp.triu(packed, 1) + diagonal
