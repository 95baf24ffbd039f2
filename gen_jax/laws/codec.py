"""The law of the codec: events decode bit for bit, and the file has the size that `log_prob` promises."""

import math
from collections.abc import Iterator

import numpy as np

from gen_jax.coding.codec import Codec, Content
from gen_jax.coding.transcoder import SLACK
from gen_jax.conditions import parts_of
from gen_jax.errors import InputError
from gen_jax.laws.row import Row
from gen_jax.laws.subject import Subject


def code_length(s: Subject) -> Iterator[Row]:
    """Size of the file with its header against the model's bits; number of values that decode differently.

    The bits of a bound are those of one draw, within the error of the draws and without the coder's initial bits. What
    the model is given besides a class is not in the file; encoder and decoder are given the same.
    """
    codec, given = Codec(s.model, s.variables), parts_of(s.model, s.cond)
    try:
        events = s.x.astype(np.min_scalar_type(codec.levels - 1))
        data, size = codec.compress(Content("npz", {"x": events}, given.label), given.values)
        wrong = float(np.sum(codec.decompress(data, given.values).arrays["x"] != events))
    except (FloatingPointError, InputError) as error:
        yield Row("code length", math.nan, SLACK, "relative", str(error))
        return
    promised = size.model_bits / 8
    initial = f", {size.initial_bits / 8:,.0f} of them initial," if size.initial_bits else ""
    note = f"{size.bytes:,} bytes{initial} for {len(events)} real events; the model promises {promised:,.0f}"
    yield Row("code length", size.excess, size.tolerance, "relative", note)
    yield Row("lossless", wrong, 0.0, "values", "that decode differently")
