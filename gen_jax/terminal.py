"""All output to the terminal: control characters are escaped, characters that it cannot show are replaced.

Names, environments and samples may come from someone else's file. Escape sequences in them could move the cursor,
rewrite lines or set the clipboard, and bidirectional controls could disguise a name.
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
    r"""Text with control characters escaped like \x1b; line breaks, tabs and visible characters stay.

    Bytes of a name that are not UTF-8, which Python represents as lone surrogates, are escaped like \xff.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text.replace("\r\n", "\n")))


def line(text: str) -> str:
    r"""Clean text in one line: line breaks, which a name in a message may contain, are escaped too."""
    return clean(text).replace("\n", "\\n")


def write(text: str, stream: Any = None) -> None:
    """Write clean text to a stream of any encoding, by default standard output."""
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(clean(text).encode(encoding, "gen_jax.plain").decode(encoding))


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A table as plain text, one line per row; every column but the last is as wide as its widest cell."""
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
    """A similar character for each one that the encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in missing), error.end


codecs.register_error("gen_jax.plain", _plain)
