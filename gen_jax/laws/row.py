"""A row of a certificate, and statistics that several laws use."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

ERRORS = 4.0  # standard errors by which a mean may be off by chance
ROUNDING = 1e-6  # relative


@dataclass(frozen=True)
class Row:
    """One line of a certificate: the law holds if `measured` is at most `limit`, so never for NaN."""

    law: str
    measured: float
    limit: float
    unit: str
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the measured value is within the limit."""
        return self.measured <= self.limit


def errors_of(differences: np.ndarray) -> float:
    """The mean, in units of its standard error, which is at least rounding."""
    rounding = ROUNDING * max(1.0, float(np.abs(differences).max()))
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) / max(error, rounding)


def pooled_chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """The p-value of a chi-square test of counts; rare events are pooled into cells that expect about 10 or more."""
    order = np.argsort(expected)
    cell = np.floor(np.cumsum(expected[order]) / 10).astype(int)
    counts, expected = np.bincount(cell, counts[order]), np.bincount(cell, expected[order])
    usual = expected > 5
    scaled = expected[usual] * counts[usual].sum() / expected[usual].sum()
    return float(stats.chisquare(counts[usual], scaled).pvalue)
