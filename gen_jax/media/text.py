"""Text: symbol k of an example is byte `alphabet[k]` of the presentation."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Integer
from markupsafe import Markup

from gen_jax.errors import InputError
from gen_jax.media import html
from gen_jax.media.medium import Medium
from gen_jax.typing import Event

BETWEEN = b"\n\n" + b"-" * 20 + b"\n\n"


class Text(Medium):
    """One text at a time, printed or in a file; invalid UTF-8 is shown as the replacement character."""

    endings: ClassVar[tuple[str, ...]] = (".txt",)
    num: ClassVar[int] = 1
    num_in_report: ClassVar[int] = 1
    temperatures: ClassVar[tuple[float, ...]] = (1.0, 0.7)
    length: ClassVar[int | None] = 500
    printed: ClassVar[bool] = True

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Whether the presentation has an alphabet."""
        del event
        return "alphabet" in presentation

    def encoded(self, x: Integer[np.ndarray, "N L"]) -> bytes:
        """The bytes of all texts, with a separating line between them."""
        rows = np.array(self.presentation["alphabet"], np.uint8)[x]
        return BETWEEN.join(row.tobytes() for row in rows)

    def check_each(self) -> None:
        """Each example is a file."""

    def figure(self, x: Integer[np.ndarray, "N L"]) -> Markup:
        """All texts in a block of the page."""
        return html.block(self.text(x), "white-space: pre-wrap")

    def text(self, x: Integer[np.ndarray, "N L"]) -> str:
        """All texts, decoded as UTF-8."""
        return self.encoded(x).decode(errors="replace")

    def prompt(self, text: str) -> list[int]:
        """Symbols of the prompt's bytes; InputError if a byte is not in the alphabet."""
        symbols = {byte: k for k, byte in enumerate(self.presentation["alphabet"])}
        typed = text.encode(errors="surrogateescape")  # the original bytes of the command line
        unknown = bytes(byte for byte in typed if byte not in symbols)
        if unknown:
            shown = unknown.decode(errors="replace")
            raise InputError(f"--prompt contains {shown!r}, which is not in the model's alphabet")
        return [symbols[byte] for byte in typed]
