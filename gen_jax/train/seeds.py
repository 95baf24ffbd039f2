"""One experiment at several seeds: each run is trained, continued from where it stopped, or read if it is finished."""

from collections.abc import Callable, Sequence
from json import loads
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import classes
from gen_jax.config_tree import differences, to_tree
from gen_jax.disk import write_atomically
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment
from gen_jax.runs import results
from gen_jax.runs.run import Run, load_run
from gen_jax.runs.summary import kind_of
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

JUDGED = "judged.json"


def finished(
    experiment: Experiment,
    folder: Path,
    judge: Callable[[Run], dict[str, Any]],
    data_dir: Path | None = None,
    name: str = JUDGED,
) -> dict[str, Any]:
    """The record that `judge` makes of a run: read from the folder if it is there, otherwise trained and judged.

    `name`: the file of the record, so that a run can be judged in several ways.
    """
    workdir, judged = WorkDir(folder), folder / name
    tree = to_tree(experiment)
    known = {*classes.names(tree)}
    if judged.exists() and not differences(to_tree(workdir.experiment(known)), tree):
        return loads(judged.read_text())
    train(experiment, workdir, data_dir)
    record = judge(load_run(folder, known))
    write_atomically(judged, results.dumps(record))
    return record


def over(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """bits/dim at each seed and their mean; None for a model without likelihood.

    `seed_deviation` is the standard deviation between seeds, `stderr` the first run's error over examples. InputError
    if not all numbers are exact, bounds or estimates alike, or are computed with other draws or another solver.
    """
    kinds = {(record.get("draws"), kind_of(record)) for record in records}
    if len(kinds) > 1:
        words = [
            f"{kind} of {drawn} draws" if drawn else kind for drawn, kind in sorted(kinds, key=str)
        ]
        raise InputError(f"these numbers have no common mean: {' and '.join(words)}")
    values = [record["bits_per_dim"] for record in records]
    none = values[0] is None
    return {
        "parameters": common({record["parameters"] for record in records}),
        "bits_per_dim": None if none else values,
        "mean": None if none else float(np.mean(values)),
        "seed_deviation": None if none else float(np.std(values, ddof=1)),
        "stderr": records[0]["stderr"],
        "selected_steps": [record["selected_step"] for record in records],
        "seconds": round(float(np.mean([record["seconds"] for record in records])), 1),
    }


def shared(records: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Under each name the value that all runs have in common, or the list of their values."""
    return {name: common(values_of(records, name)) for name in names}


def values_of(records: Sequence[dict[str, Any]], name: str) -> set[Any]:
    """What is recorded under a name: a value of each run, or a list of those of several runs."""
    values = [record[name] for record in records]
    lists = [value if isinstance(value, list) else [value] for value in values]
    return {value for values in lists for value in values} - {None}


def common(values: set[Any]) -> Any:
    """The value that all runs have in common, or the list of their values."""
    return next(iter(values)) if len(values) == 1 else sorted(values, key=str)
