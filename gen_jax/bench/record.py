"""The record of a benchmark: measurements, method, machine and code; and its table."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from gen_jax.bench import timing
from gen_jax.runs.provenance import machine, revision, versions

Row = dict[str, Any]
Columns = Mapping[str, Callable[[Row], str]]


def record(subject: str, method: str, rows: list[Row], timed: bool = True) -> dict[str, Any]:
    """The JSON object of a benchmark; `method` describes the subject, before the description of all timings, if any."""
    return {
        "bench": subject,
        "method": f"{method} {timing.METHOD}" if timed else method,
        **machine(),
        "versions": versions(),
        **revision(),
        "rows": rows,
    }


def table(columns: Columns, rows: list[Row]) -> str:
    """A Markdown table of the rows."""
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[cell(row) for cell in columns.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(bench: dict[str, Any], rendered: str) -> str:
    """The printed page: device, method, table."""
    where = f"{bench['bench']} on {bench['devices']} x {bench['device']}"
    return f"{where} ({bench['cpu']}, {bench['threads']} threads)\n{bench['method']}\n\n{rendered}"


def temporary_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Memory of a compiled program besides its arguments and results, or None if the compiler does not tell."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)


def megabytes(count: int | None) -> str:
    """A cell in megabytes; a dash if unknown."""
    return "-" if count is None else f"{count / 1e6:,.1f} MB"
