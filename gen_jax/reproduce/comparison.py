"""A recorded result compared with one computed again: one row per field, and the rows as text.

All fields must be equal, except measured ones when the same bits cannot be expected. Then rounding differs, and
training amplifies it to about the spread between seeds. On gated_pixel_cnn_digits one thread, or two to eight simulated
devices, instead of two threads changed bits/dim by 0.1 to 0.3 % and stderr by up to 4 %. Over the 16 variants of
experiments/results/ablations_*.json the deviation between seeds is 0.3 % of bits/dim in the median and at most 0.7 %,
except for one (1.5 %). So nats and bits_per_dim may differ by 1 %, more than two deviations of the difference of two
runs, and stderr by 10 %. Nats of continuous data, whose zero depends on the unit, may differ by 0.02.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gen_jax.experiment import Experiment
from gen_jax.runs import results
from gen_jax.runs.likelihood import values_per
from gen_jax.terminal import aligned

TOLERANCE = {"nats": 0.01, "bits_per_dim": 0.01, "stderr": 0.1}
LEAST = 2.0  # smallest nats of continuous data to which a relative tolerance applies
ROUNDING = 1e-12  # relative difference between bits_per_dim and nats / (D log 2)
WIDTH = 40  # largest number of characters of a value in the text
OF_STEP = re.compile(r"(?<=of step )\d+")


class Row(NamedTuple):
    """One comparison; `allowed` is the largest absolute difference, 0 for equality, None if any value is allowed."""

    field: str
    recorded: Any
    found: Any
    allowed: float | None
    passed: bool


def stated(
    recorded: dict[str, Any], experiment: Experiment, found: dict[str, Any]
) -> Iterator[Row]:
    """Comparisons that need no training: fields that follow from config and data, and the result's consistency."""
    for name, value in found.items():
        yield _row(name, recorded[name], value)
    nats, event = recorded["nats"], experiment.model.event
    whole = isinstance(nats, float) and event.levels is not None
    per = recorded.get("nats_per", "example")
    bits = nats / (values_per(event, per) * math.log(2.0)) if whole else None
    yield _row("bits_per_dim by nats", recorded["bits_per_dim"], bits, ROUNDING)
    of_any_step = OF_STEP.sub("N", str(recorded["protocol"]), count=1)
    yield _row("protocol", of_any_step, results.protocol(experiment, "N", per))


def measured(recorded: dict[str, Any], found: dict[str, Any], same_bits: bool) -> Iterator[Row]:
    """Comparisons of what training and evaluation measure."""
    for name, share in TOLERANCE.items():
        least = LEAST if name == "nats" and found["bits_per_dim"] is None else 0.0
        allowed = 0.0 if same_bits else share
        if name == "stderr" and recorded.get("stderr_method") != found.get("stderr_method"):
            allowed = None  # another quantity
        yield _row(name, recorded[name], found[name], allowed, least)
    was, now = (int(OF_STEP.findall(result["protocol"])[0]) for result in (recorded, found))
    yield _row("best step", was, now, 0.0 if same_bits else None)


def text(rows: list[Row]) -> str:
    """A table, followed by each difference in full."""
    lines = [("field", "recorded", "found", "allowed", "")]
    for row in rows:
        allowed = {None: "any", 0.0: "equal"}.get(row.allowed, f"± {row.allowed or 0:.2g}")
        verdict = "pass" if row.passed else "DIFFERENT"
        lines.append((row.field, _cell(row.recorded), _cell(row.found), allowed, verdict))
    differences = [
        f"different: {row.field} is {json.dumps(row.found)}, recorded {json.dumps(row.recorded)}"
        for row in rows
        if not row.passed
    ]
    return "\n".join([aligned(lines), *differences])


def _row(
    field: str, recorded: Any, found: Any, share: float | None = 0.0, least: float = 0.0
) -> Row:
    """Compare; `share` is the allowed difference relative to the found value, or to `least` if that is larger."""
    if share is None:
        return Row(field, recorded, found, None, True)
    if share and isinstance(recorded, float) and isinstance(found, float):
        allowed = share * max(abs(found), least)
        return Row(field, recorded, found, allowed, abs(recorded - found) <= allowed)
    same = type(recorded) is type(found) and recorded == found
    return Row(field, recorded, found, 0.0, same)


def _cell(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
