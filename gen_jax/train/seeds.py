"""One experiment at several seeds: each run is trained, goes on where it stopped, or is read where it is finished."""

from collections.abc import Callable, Sequence
from json import loads
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import classes
from gen_jax.disk import write_atomically
from gen_jax.experiment import Experiment, differences, to_tree
from gen_jax.runs import results
from gen_jax.runs.run import Run, load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

JUDGED = "judged.json"


def finished(
    experiment: Experiment,
    folder: Path,
    judge: Callable[[Run], dict[str, Any]],
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """What `judge` says of a run: read from the folder where the same experiment was judged, else trained for it."""
    workdir, kept = WorkDir(folder), folder / JUDGED
    tree = to_tree(experiment)
    known = {*classes.names(tree)}
    if kept.exists() and not differences(to_tree(workdir.experiment(known)), tree):
        return loads(kept.read_text())
    train(experiment, workdir, data_dir)
    record = judge(load_run(folder, known))
    write_atomically(kept, results.dumps(record))
    return record


def over(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """bits/dim at each seed; `seed_deviation` is that of a single seed, `stderr` that of the examples of the first.

    All of them None where there is no likelihood.
    """
    values = [record["bits_per_dim"] for record in records]
    none = values[0] is None
    return {
        "parameters": one({record["parameters"] for record in records}),
        "bits_per_dim": None if none else values,
        "mean": None if none else float(np.mean(values)),
        "seed_deviation": None if none else float(np.std(values, ddof=1)),
        "stderr": records[0]["stderr"],
        "selected_steps": [record["selected_step"] for record in records],
        "seconds": round(float(np.mean([record["seconds"] for record in records])), 1),
    }


def one(values: set[Any]) -> Any:
    """What all runs have in common, else all there are, in a list."""
    return next(iter(values)) if len(values) == 1 else sorted(values, key=str)
