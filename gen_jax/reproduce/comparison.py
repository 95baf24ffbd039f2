"""A recorded result against one that was found: one row a field, and the rows as text.

All fields are equal, but for the measured ones where the same bits cannot be asked for. There rounding differs, and
training amplifies it to about what another seed does. On gated_pixel_cnn_digits one thread, or two to eight simulated
devices, instead of two threads moved bits/dim by 0.1 to 0.3 % and stderr by up to 4 %. Over the 16 variants of
experiments/results/ablations_*.json the deviation between seeds is 0.3 % of bits/dim in the middle, 0.7 % at most but
for one (1.5 %). So nats and bits_per_dim may differ by 1 %, more than two deviations of the difference of two runs, and
stderr by 10 %. Nats of reals, whose zero depends on the unit of the data, may differ by 0.02.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gen_jax.experiment import Experiment
from gen_jax.runs import results
from gen_jax.terminal import aligned

TOLERANCE = {"nats": 0.01, "bits_per_dim": 0.01, "stderr": 0.1}
LEAST = 2.0  # nats of reals that the share is taken of
ROUNDING = 1e-12  # of bits_per_dim against nats / (D log 2), relative
WIDTH = 40  # characters of a value in the text
OF_STEP = re.compile(r"(?<=of step )\d+")


class Row(NamedTuple):
    """One comparison; `allowed` is the largest absolute difference, 0 for equal, None where any value will do."""

    field: str
    recorded: Any
    found: Any
    allowed: float | None
    passed: bool


def stated(
    recorded: dict[str, Any], experiment: Experiment, found: dict[str, Any]
) -> Iterator[Row]:
    """What needs no training: fields that config and data give, and what the result says of itself."""
    for name, value in found.items():
        yield _row(name, recorded[name], value)
    nats, event = recorded["nats"], experiment.model.event
    whole = isinstance(nats, float) and event.levels is not None
    bits = nats / (event.size * math.log(2.0)) if whole else None
    yield _row("bits_per_dim by nats", recorded["bits_per_dim"], bits, ROUNDING)
    of_any_step = OF_STEP.sub("N", str(recorded["protocol"]), count=1)
    yield _row("protocol", of_any_step, results.protocol(experiment, "N"))


def measured(recorded: dict[str, Any], found: dict[str, Any], same_bits: bool) -> Iterator[Row]:
    """What training and evaluation give."""
    for name, share in TOLERANCE.items():
        least = LEAST if name == "nats" and found["bits_per_dim"] is None else 0.0
        allowed = 0.0 if same_bits else share
        if name == "stderr" and recorded.get("stderr_method") != found.get("stderr_method"):
            allowed = None  # another quantity
        yield _row(name, recorded[name], found[name], allowed, least)
    was, now = (int(OF_STEP.findall(one["protocol"])[0]) for one in (recorded, found))
    yield _row("best step", was, now, 0.0 if same_bits else None)


def text(rows: list[Row]) -> str:
    """A table, and below it each difference in full."""
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
    """Compare; `share` is the allowed difference relative to what is found, or to `least` where that is more."""
    if share is None:
        return Row(field, recorded, found, None, True)
    if share and isinstance(recorded, float) and isinstance(found, float):
        allowed = share * max(abs(found), least)
        return Row(field, recorded, found, allowed, abs(recorded - found) <= allowed)
    same = type(recorded) is type(found) and recorded == found
    return Row(field, recorded, found, 0.0, same)


def _cell(value: Any) -> str:
    said = json.dumps(value)
    return said if len(said) <= WIDTH else said[: WIDTH - 3] + "..."
