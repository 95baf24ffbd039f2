"""One JSON line a case: written at once, read back, and said in short. No JAX here."""

import json
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LONG = 4  # entries of a list that is said in full


def append(path: Path, row: Row, say: bool = True) -> None:
    """One more line, on the disk when this returns; also said on standard output."""
    with path.open("a") as file:
        file.write(dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())
    if say:
        print(said(row))
        sys.stdout.flush()


def read(path: Path) -> list[Row]:
    """All whole lines; a process that died may have left half of one."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def dumps(value: Any) -> str:
    """JSON in one line; what is not finite is null."""
    return json.dumps(_finite(value), allow_nan=False)


def said(row: Row) -> str:
    """A row in one line of text, without long lists."""
    place = ": ".join(filter(None, (row["stage"], row["variant"], row["case"])))
    fields = {k: v for k, v in row.items() if k not in ("run", "stage", "variant", "case", "said")}
    short = (f"{name} {_short(value)}" for name, value in fields.items())
    return f"[{place}] {', '.join(short)}"


def report(rows: Iterable[Row]) -> str:
    """What did not go well, and the number of rows."""
    rows = list(rows)
    bad = [row for row in rows if "error" in row or row.get("agrees") is False]
    left = sum("left_out" in row for row in rows)
    head = f"{len(rows)} rows, {left} of cases left out, {len(bad)} failed or disagreed"
    return "\n".join([head, *(said(row) + f"\n{row.get('said', '')}" for row in bad)])


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > LONG:
        return f"[{len(value)} numbers, the last {_short(value[-1])}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
