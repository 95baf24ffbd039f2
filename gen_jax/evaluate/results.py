"""The result file: what was measured, under which protocol, by which code, on which machine."""

import importlib.metadata
import json
import math
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from gen_jax.data.prepared import Split
from gen_jax.density import num_parameters
from gen_jax.evaluate import certificate
from gen_jax.evaluate.likelihood import Result
from gen_jax.evaluate.machine import machine
from gen_jax.evaluate.run import Run
from gen_jax.experiment import to_tree

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
)


def record(
    run: Run, split: Split, result: Result, file: dict[str, Any] | None = None
) -> dict[str, Any]:
    """All fields of a result file: nats an example, bits_per_dim and its stderr; seconds and machine of training.

    `file` is what `file_size.measure` found for the first examples of the split.
    """
    experiment = run.experiment
    seconds = max((row.get("seconds", 0.0) for row in run.workdir.metrics_rows()), default=0.0)
    weights = jax.tree.leaves(run.variables)
    trained_on = run.workdir.read().get("machine") or machine()
    return {
        "system": experiment.system,
        "dataset": split.dataset,
        "dataset_version": split.version,
        "split": split.split,
        "num_examples": len(result.per_example),
        "nats": result.nats,
        "bits_per_dim": result.bits_per_dim,
        "stderr": None if math.isnan(result.stderr) else result.stderr,
        "kind": experiment.model.kind,
        "value": experiment.model.value,
        "draws": None if experiment.model.value == "exact" else 1,
        "protocol": protocol(run),
        "certified": certificate.standing(run.workdir, run.variables).state == "certified",
        "file_bytes": file and file["bytes"],
        "file": file,
        "weights_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in weights),
        "parameters": num_parameters(experiment.model, run.variables),
        "forward_passes": None,
        "seed": experiment.seed,
        "steps": experiment.steps,
        "seconds": round(seconds, 1),
        **{name: trained_on[name] for name in ("device", "cpu", "threads")},
        "versions": versions(),
        **revision(),
        "config": to_tree(experiment),
    }


def protocol(run: Run) -> str:
    """One sentence: which weights, which precision, which batch."""
    dtype = getattr(run.experiment.model, "dtype", None) or "float32"
    evaluate = run.experiment.evaluate
    examples = f"first {evaluate.examples} examples of " if evaluate.examples else ""
    weights = f"averaged weights (decay {run.experiment.ema}) of step {run.step}"
    selection = f"best on {examples}validation every {evaluate.every} steps"
    precision = f"compute {dtype}, matmul precision highest"
    return f"{weights}, {selection}; {precision}; batch {evaluate.batch_size}, every example once"


def versions() -> dict[str, str]:
    """Python and the packages that decide a number."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def revision() -> dict[str, Any]:
    """git revision of the source checkout and whether it had changes; null where the package is no checkout."""
    source = Path(__file__).resolve().parents[2]

    def git(*args: str) -> str | None:
        command = ["git", "-C", str(source), *args]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    head = git("rev-parse", "HEAD") if (source / ".git").exists() else None
    return {"git": head, "dirty": bool(git("status", "--porcelain")) if head else None}


def dumps(value: Any) -> str:
    """JSON with one field a line; NaN is not written."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
