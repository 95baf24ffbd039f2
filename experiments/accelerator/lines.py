"""One JSON line per case: written at once, read back, and printed in short. Imports no JAX."""

import json
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LONG = 4  # largest number of list entries that are printed in full


def append(path: Path, row: Row, say: bool = True) -> None:
    """Append a line, which is on disk when this returns, and print it in short."""
    with path.open("a") as file:
        file.write(dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())
    if say:
        print(short(row))
        sys.stdout.flush()


def read(path: Path) -> list[Row]:
    """All complete lines; a process that died may have left half a line."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def dumps(value: Any) -> str:
    """JSON in one line; numbers that are not finite become null."""
    return json.dumps(_finite(value), allow_nan=False)


def short(row: Row) -> str:
    """A row in one line of text, without long lists."""
    place = ": ".join(filter(None, (row["stage"], row["variant"], row["case"])))
    fields = {k: v for k, v in row.items() if k not in ("run", "stage", "variant", "case", "said")}
    values = (f"{name} {_short(value)}" for name, value in fields.items())
    return f"[{place}] {', '.join(values)}"


def report(rows: Iterable[Row]) -> str:
    """The number of rows, and those that failed or disagreed."""
    rows = list(rows)
    bad = [row for row in rows if "error" in row or row.get("agrees") is False]
    skipped = sum("left_out" in row for row in rows)
    head = f"{len(rows)} rows, {skipped} of skipped cases, {len(bad)} failed or disagreed"
    return "\n".join([head, *(short(row) + f"\n{row.get('said', '')}" for row in bad)])


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > LONG:
        return f"[{len(value)} numbers, the last {_short(value[-1])}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
