"""Reading JSON that a run wrote and that may be damaged: any damage is an InputError in one sentence."""

import json
from pathlib import Path
from typing import Any

from gen_jax.errors import InputError, first_line


def record(path: Path) -> dict[str, Any]:
    """The JSON object in a file; InputError if it cannot be read or is not a JSON object."""
    try:
        content = json.loads(path.read_bytes().decode())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except RecursionError as error:
        raise InputError(f"{path} is damaged: it is nested too deeply") from error
    except ValueError as error:  # of the JSON, or of its UTF-8
        raise InputError(f"{path} is damaged: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it is a {type(content).__name__}, not an object")
    return content


def rows(path: Path) -> list[dict[str, Any]]:
    """The valid lines of a log, objects with a step, a split and numbers; other lines are skipped."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    return [row for line in lines if (row := _row(line)) is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("split"), str):
        return None
    numbers = [value for name, value in row.items() if name != "split"]
    whole = type(row.get("step")) is int and row["step"] >= 0
    return row if whole and all(type(value) in (int, float) for value in numbers) else None
