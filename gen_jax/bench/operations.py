"""Floating-point operations of a program, counted in its jaxpr: products of matrices and convolutions only.

A loop of known length counts as often as it runs, which XLA's own count does not do.
"""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def operations(jaxpr: Jaxpr) -> float:
    """Multiplications and additions, of all devices together; of branches the larger, of an open loop one round."""
    return sum(map(_of_equation, jaxpr.eqns), 0.0)


def _of_equation(eqn: Any) -> float:
    name, params = eqn.primitive.name, eqn.params
    size = math.prod(eqn.outvars[0].aval.shape) if eqn.outvars else 0
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2.0 * size * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape
        taps = math.prod(kernel) / kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * size * taps / math.prod(params["lhs_dilation"])
    if name == "convolve":  # ops/convolution.py
        taps = math.prod(eqn.invars[1].aval.shape[:-1])
        return 2.0 * size * taps / math.prod(params["window"].spread)
    inner = [operations(part) for part in _jaxprs(params)]
    if name == "cond":
        return max(inner)
    return params.get("length", 1) * sum(inner, 0.0)


def _jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
