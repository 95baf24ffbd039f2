"""A row of a certificate, and the statistics with which several laws measure."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

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


def pooled_chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """The p-value of counts, rare events being pooled into cells of an expected count of about 10 at least."""
    order = np.argsort(expected)
    cell = np.floor(np.cumsum(expected[order]) / 10).astype(int)
    counts, expected = np.bincount(cell, counts[order]), np.bincount(cell, expected[order])
    usual = expected > 5
    scaled = expected[usual] * counts[usual].sum() / expected[usual].sum()
    return float(stats.chisquare(counts[usual], scaled).pvalue)
