"""The law of a file: the events come back bit for bit, at the bits of `log_prob`."""

import math
from collections.abc import Iterator

import numpy as np

from gen_jax.coding.codec import Codec, Content
from gen_jax.coding.transcoder import SLACK
from gen_jax.errors import InputError
from gen_jax.laws.row import Row
from gen_jax.laws.subject import Subject


def code_length(s: Subject) -> Iterator[Row]:
    """Bytes of the file, with its header, against the model's own bits; values that come back changed.

    The bits of a bound are those of one draw, within the error of the draws, without the coder's initial bits.
    """
    codec = Codec(s.model, s.variables)
    try:
        events = s.x.astype(np.min_scalar_type(codec.levels - 1))
        data, size = codec.compress(Content("npz", {"x": events}, s.labels))
        wrong = float(np.sum(codec.decompress(data).arrays["x"] != events))
    except (FloatingPointError, InputError) as error:
        yield Row("code length", math.nan, SLACK, "relative", str(error))
        return
    promised = size.model_bits / 8
    first = f", {size.initial_bits / 8:,.0f} to begin with," if size.initial_bits else ""
    note = f"{size.bytes:,} bytes{first} for {len(events)} real events, the model's own bits are {promised:,.0f}"
    yield Row("code length", size.excess, size.tolerance, "relative", note)
    yield Row("lossless", wrong, 0.0, "values", "that come back changed")
