"""Synthetic plucked strings: a sound data set that needs no download."""

import numpy as np
from jaxtyping import Float

from gen_jax.data.builders.common import Builder, info, numbered
from gen_jax.data.wav import FULL_SCALE
from gen_jax.ops import mu_law

RATE, LENGTH, SEED = 8000, 1024, 0
PERIODS = (30, 27, 24, 22, 20, 18, 16, 15)  # samples; about a major scale from middle C, 262 Hz


class Plucks(Builder, skip_registration=True):
    """Plucked strings (Karplus and Strong 1983): 1,024 samples at 8 kHz as 256 mu-law levels, 8 pitches of a scale."""

    name = "plucks"
    TAKES_SOURCE = False
    COUNTS = (("train", 4000), ("validation", 400), ("test", 400))

    def _info(self):
        return info(
            self,
            "Synthetic plucked strings by the Karplus-Strong algorithm; class k has period PERIODS[k].",
            (LENGTH,),
            levels=256,
            num_classes=len(PERIODS),
            citation="Karplus and Strong 1983, doi:10.2307/3680062",
            class_names=[f"{RATE / (period + 0.5):.0f} Hz" for period in PERIODS],
            presentation={"rate": RATE, "unit": "sample"},
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download: the sounds are computed
        splits = {}
        for number, (split, count) in enumerate(self.COUNTS):
            labels = np.arange(count) % len(PERIODS)
            codes = plucks(np.random.default_rng((SEED, number)), labels)
            splits[split] = self._generate_examples(numbered(codes, labels))
        return splits


def plucks(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """A sound for each label, with random loudness and decay, rounded to 16 bits and coded by the mu-law."""
    codes = np.empty((len(labels), LENGTH), np.uint8)
    for label, period in enumerate(PERIODS):
        mine = np.flatnonzero(labels == label)
        loudness, decay = rng.random((2, len(mine), 1))
        burst = (0.2 + 0.7 * loudness) * (2 * rng.random((len(mine), period)) - 1)
        sound = string(burst, 0.98 + 0.02 * decay, LENGTH)
        codes[mine] = mu_law.encode(np.round(FULL_SCALE * sound) / (FULL_SCALE + 1))
    return codes


def string(
    burst: Float[np.ndarray, "n N"], decay: Float[np.ndarray, "n 1"], length: int
) -> Float[np.ndarray, "n L"]:
    """y_t = burst_t for t < N, then decay (y_{t-N} + y_{t-N-1}) / 2: a period of N + 1/2 samples; y_{-1} = 0."""
    period = burst.shape[1]
    y = np.pad(burst, ((0, 0), (1, 0)))
    while y.shape[1] <= length:
        before = y[:, -period - 1 :]
        y = np.concatenate([y, decay * (before[:, 1:] + before[:, :-1]) / 2], axis=1)
    return y[:, 1 : length + 1]
