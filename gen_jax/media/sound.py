"""Sound: mu-law codes at the `rate` of the presentation, in Hz."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Integer
from markupsafe import Markup
from matplotlib.figure import Figure

from gen_jax.data.wav import wav
from gen_jax.media import html
from gen_jax.media.medium import Medium
from gen_jax.ops import mu_law
from gen_jax.typing import Event

PAUSE = 0.1  # seconds


class Sound(Medium):
    """Sounds one after the other with a pause between, 16 bits, one channel."""

    endings: ClassVar[tuple[str, ...]] = (".wav",)
    num: ClassVar[int] = 8
    num_in_report: ClassVar[int] = 8

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Sequences of levels that have a rate."""
        return "rate" in presentation and len(event.shape) == 1 and event.levels is not None

    @property
    def rate(self) -> int:
        """Sampling rate in samples a second."""
        return self.presentation["rate"]

    def encoded(self, x: Integer[np.ndarray, "N L"]) -> bytes:
        """A WAV file of all."""
        return wav(self._amplitudes(x), self.rate)

    def figure(self, x: Integer[np.ndarray, "N L"]) -> Markup:
        """To hear them, and their wave and spectrogram over the same time."""
        heard = self._amplitudes(x)
        player = html.embedded("audio/wav", wav(heard, self.rate))
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        wave, spectrum = figure.subplots(2, 1, sharex=True)
        wave.plot(np.arange(len(heard)) / self.rate, heard, lw=0.3)
        wave.set(ylabel="amplitude", ylim=(-1, 1))
        # the floor keeps the logarithm of silence finite
        quiet = heard + 1e-5 * np.random.default_rng(0).standard_normal(len(heard))
        spectrum.specgram(quiet, NFFT=256, Fs=self.rate, noverlap=192, vmin=-120)
        spectrum.set(xlabel="seconds", ylabel="Hz")
        heard = Markup('<p><audio controls src="{}"></audio></p>').format(player)
        return heard + html.plot(figure)

    def _amplitudes(self, x: Integer[np.ndarray, "N L"]) -> Float[np.ndarray, " n"]:
        """Amplitudes of all sounds, one after the other."""
        assert self.event.levels is not None  # it fits
        pause = np.zeros(round(PAUSE * self.rate))
        parts = [part for row in mu_law.decode(x, self.event.levels) for part in (row, pause)]
        return np.concatenate(parts[:-1])
