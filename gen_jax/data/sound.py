"""Reading sound files of several formats: WAV by this package, FLAC, AIFF and Ogg by soundfile, an optional extra."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from gen_jax.data.opening import check_size, read_regular
from gen_jax.data.wav import read_wav
from gen_jax.errors import InputError, first_line

FORMATS = {".flac": "FLAC", ".aiff": "AIFF", ".aif": "AIFF", ".ogg": "OGG"}
ENDINGS = (".wav", *FORMATS)
BYTES = 2  # of a sample of 16 bits, in which the limit of an unpacked file is counted


def read_sound(
    path: Path, max_bytes: int | None = None
) -> tuple[Float[np.ndarray, "n channels"], int]:
    """Amplitudes in [-1, 1] and the rate in Hz; InputError if the file cannot be read or is truncated.

    Integers of b bits are divided by 2^(b-1). Ogg loses information, and its amplitudes beyond 1 are cut.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        return read_wav(path, max_bytes)
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without its library
        raise InputError(
            f"{path} is {form}, which needs the package soundfile: pip install 'gen_jax[sound]'"
        ) from error
    content = read_regular(path)
    # The chunk that holds an AIFF says how long it is; soundfile takes what there is.
    if content[:4] == b"FORM" and int.from_bytes(content[4:8], "big") > len(content) - 8:
        raise InputError(f"{path} is truncated: its end is missing")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            found: Any = file.format
            count, channels, rate = file.frames, file.channels, file.samplerate
            check_size(path, BYTES * count * channels, len(content), max_bytes)
            x = file.read(dtype="float64", always_2d=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is not a readable {form} file: {first_line(error)}") from error
    if found != form:
        raise InputError(f"{path} is {found}, not {form}: rename it")
    if len(x) != count:
        raise InputError(f"{path} is truncated: it has {len(x):,} of {count:,} samples")
    if not count:
        raise InputError(f"{path} contains no sound: 0 samples at {rate} Hz")
    if not np.isfinite(x).all():
        raise InputError(f"{path} has amplitudes that are not finite")
    return x.clip(-1, 1), rate
