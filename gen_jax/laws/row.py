"""A row of a certificate, and the statistics with which several laws measure."""

import math
from dataclasses import dataclass

import numpy as np

ERRORS = 4.0  # standard errors that a mean may be off by chance
ROUNDING = 1e-6  # relative


@dataclass(frozen=True)
class Row:
    """One line of a certificate: it holds where `measured` is at most `limit`, so never for NaN."""

    law: str
    measured: float
    limit: float
    unit: str
    note: str = ""

    @property
    def passed(self) -> bool:
        """Within the limit."""
        return self.measured <= self.limit


def errors_of(differences: np.ndarray) -> float:
    """The mean in standard errors of the mean; rounding counts as error."""
    rounding = ROUNDING * max(1.0, float(np.abs(differences).max()))
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) / max(error, rounding)
