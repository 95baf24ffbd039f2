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
    """Sounds one after the other with pauses in between, 16 bits, one channel."""

    endings: ClassVar[tuple[str, ...]] = (".wav",)
    num: ClassVar[int] = 8
    num_in_report: ClassVar[int] = 8

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Whether examples are sequences of levels with a sampling rate."""
        return "rate" in presentation and len(event.shape) == 1 and event.levels is not None

    @property
    def rate(self) -> int:
        """The sampling rate in samples per second."""
        return self.presentation["rate"]

    def encoded(self, x: Integer[np.ndarray, "N L"]) -> bytes:
        """A WAV file of all sounds."""
        return wav(self._amplitudes(x), self.rate)

    def check_each(self) -> None:
        """Each example is a file."""

    def figure(self, x: Integer[np.ndarray, "N L"]) -> Markup:
        """An audio player, the wave and the spectrogram."""
        amplitudes = self._amplitudes(x)
        url = html.embedded("audio/wav", wav(amplitudes, self.rate))
        figure = Figure(figsize=html.WIDE, layout="constrained")
        wave, spectrum = figure.subplots(2, 1, sharex=True)
        wave.plot(np.arange(len(amplitudes)) / self.rate, amplitudes, lw=0.3)
        wave.set(ylabel="amplitude", ylim=(-1, 1))
        # A little noise keeps the logarithm of silence finite.
        noise = np.random.default_rng(0).standard_normal(len(amplitudes))
        spectrum.specgram(
            amplitudes + 1e-5 * noise, NFFT=256, Fs=self.rate, noverlap=192, vmin=-120
        )
        spectrum.set(xlabel="seconds", ylabel="Hz")
        player = Markup('<p><audio controls src="{}"></audio></p>').format(url)
        alt = f"Waves and spectrogram of {len(x)} sounds, {len(amplitudes) / self.rate:.1f} seconds"
        return player + html.plot(figure, alt)

    def _amplitudes(self, x: Integer[np.ndarray, "N L"]) -> Float[np.ndarray, " n"]:
        """Amplitudes of all sounds, one after the other, with pauses."""
        assert self.event.levels is not None  # by `fits`
        pause = np.zeros(round(PAUSE * self.rate))
        parts = [part for row in mu_law.decode(x, self.event.levels) for part in (row, pause)]
        return np.concatenate(parts[:-1])
