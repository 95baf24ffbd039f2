"""LMConv for completions of any part, on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/lm_conv_any_order_digits.py
Hardware: 2 CPU cores, about four minutes
Expected: about 1.9 bits/dim on test in one order, exact; not run yet; `lm_conv_digits` has the S-curves only
"""

import dataclasses

import numpy as np
from lm_conv_digits import experiment as on_curves

from gen_jax import ObservedFirst, SCurve, Shuffled
from gen_jax.experiment import Experiment
from gen_jax.ops.orders import Order

FRACTIONS = (0.25, 0.5)


def experiment() -> Experiment:
    """One of 24 orders a step: the eight S-curves, and each of them behind a quarter or a half of all pixels."""
    return with_any_order(on_curves())


def with_any_order(plain: Experiment) -> Experiment:
    """The experiment with the S-curves and with orders that see random pixels first."""
    height, width, _ = plain.model.event.shape
    curves = tuple(map(SCurve, range(8)))
    behind = [behind_random(curve, part, height, width) for part in FRACTIONS for curve in curves]
    model = dataclasses.replace(plain.model, orders=(*curves, *behind))
    return dataclasses.replace(plain, model=model)


def behind_random(curve: SCurve, part: float, height: int, width: int) -> Order:
    """A part of all pixels first, drawn at random for this curve and part, then the others, both along the curve."""
    seed = 1000 * (curve.variant + 1) + round(100 * part)
    first = Shuffled(seed).places(height, width)[: round(part * height * width)]
    observed = np.isin(np.arange(height * width), first).reshape(height, width)
    return ObservedFirst.of(curve, observed)
