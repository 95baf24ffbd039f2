"""JSON that a run wrote, as it may be found: InputError, in one sentence, whatever stands in it."""

import json
from pathlib import Path
from typing import Any

from gen_jax.errors import InputError, first_line


def record(path: Path) -> dict[str, Any]:
    """The object that a file holds; InputError where it cannot be read, is no JSON or is no object."""
    try:
        found = json.loads(path.read_bytes().decode())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except RecursionError as error:
        raise InputError(f"{path} is damaged: it is nested too deeply") from error
    except ValueError as error:  # of the JSON, or of its UTF-8
        raise InputError(f"{path} is damaged: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: it holds a {type(found).__name__}, not an object")
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    """The sound lines of a log: objects of a step, a split and numbers. What else stands in it is left out."""
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
