# Methods of protocols have no body.
# pyright: reportReturnType=false
"""The protocols of models that say more of an example than its likelihood, in a validation and in the report."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array

from gen_jax.conditions import Cond
from gen_jax.typing import PRNGKey


@runtime_checkable
class Diagnosed(Protocol):
    """A model with other numbers of a validation than the likelihood, and findings to warn about."""

    def measure(self, x: Array, key: PRNGKey, cond: Cond = None) -> dict[str, Array]:
        """Numbers by name, a row for each example."""

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Scalars to log for a whole split, and findings: a sentence by name."""


@runtime_checkable
class Curved(Protocol):
    """A model with curves for each example, for the report."""

    def curves(self, x: Array, key: PRNGKey, cond: Cond = None) -> dict[str, Array]:
        """Curves by title, which names the unit: for each example a row of numbers that add up."""
