"""The one way of text to the terminal: what could steer it is spelled out, what it cannot show is replaced.

Names, environments and samples may come from a file of someone else's. Escape sequences in them could move the cursor,
rewrite lines or set the clipboard, and bidirectional controls could show a name as another.
"""

import codecs
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

PLAIN = {"±": "+-", "−": "-", "–": "-", "—": "-", "“": '"', "”": '"', "’": "'"}
STEERING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")  # bidirectional


def clean(text: str) -> str:
    r"""Text without control characters: they are written as \x1b; lines and tabs stay, and so does what can be seen.

    Bytes of a name that are no UTF-8, which Python holds as lone surrogates, are written as \xff.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text.replace("\r\n", "\n")))


def line(text: str) -> str:
    r"""The same in one line: a message, in which a name may hold line breaks."""
    return clean(text).replace("\n", "\\n")


def write(text: str, stream: Any = None) -> None:
    """Write clean text, to standard output where no stream is given, whatever the stream's encoding is."""
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(clean(text).encode(encoding, "gen_jax.plain").decode(encoding))


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A table as plain text, one line a row; every column but the last as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[-1] = 0
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _shown(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or STEERING.match(character):
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return character


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Something like it for each character that the encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


codecs.register_error("gen_jax.plain", _plain)
