"""Sound: mu-law codes at the `rate` of the presentation, in Hz."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float, Integer
from markupsafe import Markup
from matplotlib.figure import Figure

from gen_jax import sharding
from gen_jax.data.batches import spread, take
from gen_jax.data.prepared import Split
from gen_jax.data.wav import wav
from gen_jax.density import Autoregressive
from gen_jax.evaluate import draw
from gen_jax.media import html
from gen_jax.media.medium import Medium, Section
from gen_jax.ops import mu_law
from gen_jax.runs.run import Run
from gen_jax.typing import Event

PAUSE = 0.1  # seconds
GIVEN, MEASURED = 8, 64


class Sound(Medium):
    """Sounds one after the other with a pause between, 16 bits, one channel."""

    endings: ClassVar[tuple[str, ...]] = (".wav",)
    num: ClassVar[int] = 8
    num_in_report: ClassVar[int] = GIVEN

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Sequences of levels that have a rate."""
        return "rate" in presentation and len(event.shape) == 1 and event.levels is not None

    @property
    def rate(self) -> int:
        """Samples a second."""
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

    def sections(self, run: Run, given: Split) -> Iterator[Section]:
        """Sounds of the split; the completions and the bits of each sample of an autoregressive model."""
        chosen = spread(len(given), GIVEN)
        x = given.x[chosen]
        yield "Given sounds", html.paragraph(f"{len(x)} of {given.split}.") + self.figure(x)
        if isinstance(run.experiment.model, Autoregressive):
            keep = np.arange(x.shape[1]) < x.shape[1] // 4
            labels = given.labels[chosen] if run.conditional and given.labels is not None else None
            drawn = self.figure(draw.complete(run, x, keep, labels=labels))
            yield (
                "Completions",
                html.paragraph("The same up to a quarter, from there on drawn.") + drawn,
            )
            yield "Bits of each sample", self._bits(run, given)

    def _amplitudes(self, x: Integer[np.ndarray, "N L"]) -> Float[np.ndarray, " n"]:
        """All in one."""
        assert self.event.levels is not None  # it fits
        pause = np.zeros(round(PAUSE * self.rate))
        parts = [part for row in mu_law.decode(x, self.event.levels) for part in (row, pause)]
        return np.concatenate(parts[:-1])

    def _bits(self, run: Run, given: Split) -> Markup:
        model, chosen = run.experiment.model, spread(len(given), MEASURED)
        batch = sharding.put_rows(take(given, chosen, run.conditional), run.mesh)
        sites = jax.jit(lambda v, x, cond: model.apply(v, x, cond, method="log_prob_sites"))
        nats = -np.asarray(sites(run.variables, batch["x"], batch["cond"]))[: len(chosen)]
        figure = Figure(figsize=(9, 2.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(np.arange(nats.shape[1]) / self.rate, nats.mean(axis=0) / np.log(2), lw=0.6)
        axes.set(xlabel="seconds", ylabel="bits", ylim=(0, None))
        said = f"-log2 p(x_t | x_<t), mean over {len(chosen)} sounds of {given.split}"
        return html.paragraph(f"{said}.") + html.plot(figure)
