"""WAV files of uncompressed sound, read with care and written. InputError names the file that does not fit."""

import io
import wave
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gen_jax.errors import InputError, first_line

FULL_SCALE = 32767  # of the 16 bits that are written


def read_wav(path: Path) -> tuple[Float[np.ndarray, "n channels"], int]:
    """Amplitudes in [-1, 1) and the rate in Hz, of 8 or 16 bits a sample."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            content = file.readframes(count)
    except (wave.Error, EOFError) as error:
        what = first_line(error) or "it is cut short"
        raise InputError(f"{path} is no WAV file of uncompressed sound: {what}") from error
    if width not in (1, 2):
        raise InputError(f"{path} has {8 * width} bits a sample; only 8 and 16 are read")
    if len(content) != count * channels * width:
        raise InputError(f"{path} is cut short: its header speaks of {count} samples")
    if not content or rate < 1:
        raise InputError(f"{path} holds no sound: {count} samples at {rate} Hz")
    kind, zero = ("u1", 128) if width == 1 else ("<i2", 0)
    x = (np.frombuffer(content, kind) - float(zero)) / 2.0 ** (8 * width - 1)
    return x.reshape(-1, channels), rate


def wav(x: Float[np.ndarray, " n"], rate: int) -> bytes:
    """A WAV file of amplitudes in [-1, 1]: one channel of 16 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(FULL_SCALE * x).astype("<i2").tobytes())
    return buffer.getvalue()
