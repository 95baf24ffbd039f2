"""Reading and writing WAV files of uncompressed sound. InputError names a file that cannot be read.

The header is parsed here: `wave` of the standard library knows fewer kinds before Python 3.12, and libraries such as
soundfile or scipy accept a truncated file.
"""

import io
import struct
import wave
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gen_jax.data.opening import read_regular
from gen_jax.errors import InputError

FULL_SCALE = 32767  # largest 16-bit amplitude
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
# The bytes after the tag in the 16-byte format name of an extensible header.
TAIL = bytes.fromhex("000000001000800000aa00389b71")
COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x55: "MP3"}
OTHER_CONTAINERS = {b"RIFX": "big-endian WAV", b"RF64": "RF64", b"BW64": "BW64", b"riff": "Wave64"}
# Sizes that programs write to a pipe, where they cannot seek: the samples extend to the end of the file.
STREAMED = (0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF)
DTYPES = {
    (PCM, 8): "u1",
    (PCM, 16): "<i2",
    (PCM, 24): "<i4",
    (PCM, 32): "<i4",
    (FLOAT, 32): "<f4",
    (FLOAT, 64): "<f8",
}
KINDS = "integers of 8, 16, 24 and 32 bits and floats of 32 and 64 bits"


def read_wav(
    path: Path, max_bytes: int | None = None
) -> tuple[Float[np.ndarray, "n channels"], int]:
    """Amplitudes in [-1, 1] and the rate in Hz.

    Integers of b bits are divided by 2^(b-1), those of 8 bits after subtracting 128; floats are unchanged. InputError
    if the file is truncated, of another kind, or has floats outside [-1, 1].
    """
    content = read_regular(path, max_bytes)
    form, data = _chunks(path, content)
    tag, channels, rate, width = _format(path, form)
    bits = 8 * width // channels if channels else 0
    if (tag, bits) not in DTYPES:
        numbers = {PCM: "integers", FLOAT: "floats"}[tag]
        raise InputError(f"{path} has {numbers} of {bits} bits; only {KINDS} can be read")
    if len(data) % width:
        raise InputError(f"{path} is truncated: its last sample has {len(data) % width} bytes")
    if not data or rate < 1:
        raise InputError(f"{path} contains no sound: {len(data) // width} samples at {rate} Hz")
    x = _amplitudes(data, tag, bits)
    if tag == FLOAT and not np.abs(x).max() <= 1:
        raise InputError(
            f"{path} has floats up to {np.abs(x).max():.3g}, amplitudes must lie in [-1, 1]; scale it"
        )
    return x.reshape(-1, channels), rate


def _amplitudes(data: bytes, tag: int, bits: int) -> Float[np.ndarray, " n"]:
    if bits == 24:  # put into the upper three bytes of 32 bits
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, bits = padded.tobytes(), 32
    x = np.frombuffer(data, DTYPES[tag, bits])
    if tag == FLOAT:
        return x.astype(np.float64)
    return (x - (128.0 if bits == 8 else 0.0)) / 2.0 ** (bits - 1)


def _chunks(path: Path, content: bytes) -> tuple[bytes, bytes]:
    """The content of the chunks `fmt ` and `data`; if one occurs twice, the first."""
    kind = content[:4]
    if kind in OTHER_CONTAINERS:
        raise InputError(
            f"{path} is {OTHER_CONTAINERS[kind]}, which cannot be read; save it as WAV"
        )
    if kind != b"RIFF" or content[8:12] != b"WAVE":
        raise InputError(f"{path} is not a WAV file")
    streamed = struct.unpack("<I", content[4:8])[0] in (0, *STREAMED)
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(content) and b"data" not in chunks:
        name, size = struct.unpack("<4sI", content[at : at + 8])
        at, left = at + 8, len(content) - at - 8
        if name == b"data" and (size in STREAMED or (size == 0 and streamed)) and size != left:
            size = left
        if size > left:
            raise InputError(
                f"{path} is truncated: chunk {name.decode('latin1')!r} has {left} of {size} bytes"
            )
        chunks.setdefault(name, content[at : at + size])
        at += size + size % 2
    for name in (b"fmt ", b"data"):
        if name not in chunks:
            raise InputError(f"{path} is truncated: it has no chunk {name.decode()!r}")
    return chunks[b"fmt "], chunks[b"data"]


def _format(path: Path, form: bytes) -> tuple[int, int, int, int]:
    """PCM or FLOAT, number of channels, rate in Hz, and bytes per sample of all channels."""
    if len(form) < 16:
        raise InputError(f"{path} is damaged: its format has {len(form)} bytes")
    tag, channels, rate, _, width, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == EXTENSIBLE:
        if len(form) < 40 or form[26:40] != TAIL:
            raise InputError(f"{path} is a WAV file of an unknown format")
        [tag] = struct.unpack("<H", form[24:26])
    if tag not in (PCM, FLOAT):
        codec = COMPRESSED.get(tag, f"format {tag:#06x}")
        raise InputError(f"{path} is a WAV file with {codec}; only uncompressed sound can be read")
    if not channels or width != channels * -(-bits // 8) or not width:
        raise InputError(
            f"{path} is damaged: {channels} channels of {bits} bits are not {width} bytes"
        )
    return tag, channels, rate, width


def wav(x: Float[np.ndarray, " n"], rate: int) -> bytes:
    """A WAV file of amplitudes in [-1, 1]: one channel, 16 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(FULL_SCALE * x).astype("<i2").tobytes())
    return buffer.getvalue()
