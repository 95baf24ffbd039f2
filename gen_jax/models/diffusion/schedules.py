"""Noise schedules of a diffusion, in float64: beta_t, the variance that step t adds, for t = 1..T."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gen_jax.errors import InputError


@dataclass(frozen=True)
class LinearSchedule:
    """beta from `first` at t = 1 to `last` at t = T (Ho, Jain and Abbeel 2020, 2006.11239, section 4, for T = 1000)."""

    first: float = 1e-4
    last: float = 0.02

    def __post_init__(self):
        if not 0 < self.first <= self.last < 1:
            raise InputError(
                f"schedule needs 0 < first <= last < 1, not {self.first} and {self.last}"
            )

    def betas(self, timesteps: int) -> Float[np.ndarray, " T"]:
        """T variances."""
        return np.linspace(self.first, self.last, timesteps)


@dataclass(frozen=True)
class CosineSchedule:
    """alpha_bar_t ~ cos^2((t / T + offset) / (1 + offset) pi / 2), 1 at t = 0 (Nichol and Dhariwal 2021, 2102.09672).

    Their equation 17; every beta is at most `most`.
    """

    offset: float = 0.008
    most: float = 0.999

    def __post_init__(self):
        if self.offset < 0 or not 0 < self.most < 1:
            raise InputError("schedule needs offset >= 0 and 0 < most < 1")

    def betas(self, timesteps: int) -> Float[np.ndarray, " T"]:
        """T variances."""
        share = np.arange(timesteps + 1) / timesteps
        signal = np.cos((share + self.offset) / (1 + self.offset) * math.pi / 2) ** 2
        return np.minimum(1 - signal[1:] / signal[:-1], self.most)


def alpha_bar(betas: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T+1"]:
    """prod_{s<=t} (1 - beta_s) for t = 0..T: the share of x_0 in the variance of x_t."""
    return np.concatenate([[1.0], np.cumprod(1 - betas)])
