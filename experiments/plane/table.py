"""The table of `run.py` for RESULTS.md."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gen_jax.runs.summary import SIGN, kind_of

HEAD = """Six sets of points in the plane (`python experiments/plane/run.py`), -log p of the test points in nats. ±
after the true density is the standard error over the points, which all columns share; after a system it is the standard
deviation between seeds. The kernel estimate has its bandwidth from validation."""


def text(path: Path, hardware: Callable[[dict[str, Any]], str]) -> str:
    """One row per set: the true density, a kernel estimate and each system; empty if there is no file."""
    if not path.exists():
        return ""
    stored = json.loads(path.read_text())
    rows = stored["rows"]
    systems = list(dict.fromkeys(name for row in rows for name in row["systems"]))
    head = ["set", "true density", "kernel estimate", *(f"`{name}`" for name in systems)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [row["set"], f"{row['truth']:.3f} ± {row['stderr']:.3f}", f"{row['kernel']:.3f}"]
        cells += [cell(row["systems"].get(name)) for name in systems]
        lines.append("| " + " | ".join(cells) + " |")
    numbers = ", ".join(str(seed) for seed in stored["seeds"])
    notes = [f"{rows[0]['num_examples']:,} test points, seeds {numbers}, {hardware(stored)}."]
    estimates: dict[str, list[str]] = {}
    for name in systems:
        first = next(row["systems"][name] for row in rows if name in row["systems"])
        if first["value"] == "estimate":
            estimates.setdefault(kind_of(first), []).append(f"`{name}`")
    notes += [f"{kind.capitalize()}: {', '.join(names)}." for kind, names in estimates.items()]
    return "\n".join([HEAD, "", *lines, "", " ".join(notes), "", ""])


def cell(result: dict[str, Any] | None) -> str:
    """The mean over seeds with its sign and the deviation between them."""
    if result is None:
        return "-"
    return f"{SIGN[result['value']]}{result['mean']:.3f} ± {result['deviation']:.3f}"
