"""Arrays: examples that are shown as numbers."""

import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Num
from markupsafe import Markup

from gen_jax.media import html
from gen_jax.media.medium import Medium
from gen_jax.typing import Event

ENDING = ".npz"


class Arrays(Medium):
    """Binary vectors, tokens without an alphabet, and any other example."""

    num_in_report: ClassVar[int] = 16

    @classmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        del event, presentation
        return True

    def figure(self, x: Num[np.ndarray, "N *event"]) -> Markup:
        """One line per example, shortened if it is long."""
        with np.printoptions(threshold=64, precision=3, linewidth=10**6):
            lines = "\n".join(str(row.reshape(-1)) for row in x)
        return html.block(lines)


def encoded(event: Event, **examples: Num[np.ndarray, "..."]) -> bytes:
    """Examples as arrays of an .npz file, by name; integers in the smallest type that holds the levels."""
    if event.levels is not None:
        dtype = np.min_scalar_type(event.levels - 1)
        examples = {name: x.astype(dtype) for name, x in examples.items()}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = examples
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
