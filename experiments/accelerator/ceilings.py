"""Peak rates of the device: products of square matrices in three precisions, and a copy."""

from typing import Any

import jax
import jax.numpy as jnp
from stage import Setting, seconds_a_call

SIDE, BYTES = 8192, 2**31
SMALL_SIDE, SMALL_BYTES = 256, 2**20


def run(case: str, setting: Setting) -> dict[str, Any]:
    """flops_per_second of a product (2 n^3 operations), or bytes_per_second read plus written."""
    if case == "copy":
        return copy(SMALL_BYTES if setting.check else BYTES)
    return product(case.removesuffix(" product"), SMALL_SIDE if setting.check else SIDE)


def product(precision: str, side: int) -> dict[str, Any]:
    """The product of normal random matrices, since a device's clock depends on the numbers."""
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    a, b = (jax.random.normal(jax.random.key(i), (side, side), dtype) for i in range(2))
    with jax.default_matmul_precision("highest" if precision == "float32" else precision):
        multiply = jax.jit(jnp.matmul).lower(a, b).compile()
    seconds = seconds_a_call(lambda: multiply(a, b))
    return {"side": side, "product_seconds": seconds, "flops_per_second": 2 * side**3 / seconds}


def copy(count: int) -> dict[str, Any]:
    """x -> -x, which no compiler removes and which costs as much as a copy."""
    x = jnp.ones(count // 4)
    negate = jax.jit(jnp.negative)
    seconds = seconds_a_call(lambda: negate(x))
    return {"bytes": count, "copy_seconds": seconds, "bytes_per_second": 2 * count / seconds}
