"""The table of `gen-jax runs`: every work directory below a folder, read from its files without importing jax."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gen_jax import stored
from gen_jax.errors import InputError
from gen_jax.runs.summary import SIGN
from gen_jax.terminal import aligned

DEEPEST = 6  # folders below the given one
HEADER = ("run", "model", "data", "seed", "steps", "best validation", "result")


def rows(folder: Path) -> list[dict[str, Any]]:
    """A row for each work directory, by path; InputError if the folder does not exist."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    named = [(path, path.relative_to(folder)) for path in _work_directories(folder)]
    return [row(path, str(name)) if name.parts else row(path) for path, name in named]


def text(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    return aligned([HEADER, *map(cells, rows)])


def _work_directories(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Folders with a config.json of an experiment; nothing inside them is searched."""
    if _experiment(folder / "config.json") is not None:
        yield folder
        return
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return
    for path in inside if depth < DEEPEST else ():
        if not path.is_symlink() and not path.name.startswith("."):
            yield from _work_directories(path, depth + 1)


def _experiment(path: Path) -> dict[str, Any] | None:
    """The fields of the experiment in a config.json; None for any other file."""
    try:
        tree = stored.record(path)["experiment"]
        fields = tree["fields"]
        named = isinstance(fields["model"]["type"], str) and isinstance(fields["steps"], int)
        return fields if named else None
    except (InputError, KeyError, TypeError):
        return None


def row(path: Path, name: str | None = None) -> dict[str, Any]:
    """The row of a work directory, whose name is that of its folder if no other is given."""
    fields = _experiment(path / "config.json") or {}
    log, result = stored.rows(path / "metrics.jsonl"), _result(path / "result.json")
    validations = [row for row in log if row["split"] == "validation" and "nats" in row]
    try:
        data = fields["data"]["fields"]["name"]
    except (KeyError, TypeError):
        data = None
    return {
        "run": name or path.resolve().name,
        "path": str(path),
        "model": fields["model"]["type"].rpartition(":")[2],
        "data": data,
        "seed": fields.get("seed"),
        "step": max((row["step"] for row in log), default=0),
        "steps": fields["steps"],
        "best_validation": min(validations, key=lambda row: row["nats"], default=None),
        "result": result,
    }


def _result(path: Path) -> dict[str, Any] | None:
    """The number of a result file with what belongs to it; None if there is no result, or a damaged one."""
    try:
        result = stored.record(path)
    except InputError:
        return None
    numbers = {name: result.get(name) for name in ("nats", "bits_per_dim", "stderr")}
    if any(not isinstance(value, int | float | None) for value in numbers.values()):
        return None
    words = {name: result.get(name) for name in ("split", "value", "certified")}
    return {**numbers, **words, "unit": result.get("unit", "bits/dim")}


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The texts of a row under `HEADER`."""
    step, steps, best = row["step"], row["steps"], row["best_validation"]
    done = f"{step:,}" if step == steps else f"{step:,} of {steps:,}"
    shown = ""
    if best is not None:
        shown = f"{best.get('bits_per_dim', best['nats']):.4f} at {best['step']:,}"
    texts = (row["run"], row["model"], row["data"], row["seed"], done, shown)
    return (*map(str, texts), _number(row["result"]))


def _number(result: dict[str, Any] | None) -> str:
    """The number of a result with its sign, error and unit, and whether it is certified."""
    if result is None or result["nats"] is None:
        return ""
    number = result["nats"] if result["bits_per_dim"] is None else result["bits_per_dim"]
    error = "" if result["stderr"] is None else f" ± {result['stderr']:.4f}"
    certified = ", certified" if result["certified"] is True else ""
    sign = SIGN.get(str(result["value"]), "")
    return f"{sign}{number:.4f}{error} {result['unit']}, {result['split']}{certified}"
