"""Flows on six sets of points in the plane, three seeds each: `python experiments/plane/run.py`, hours on 2 CPU cores.

Each number is the mean of -log p over the test points, in nats. Beside it stand the same mean under the true density,
which no model can beat but by chance, and under a Gaussian kernel density estimate, whose bandwidth is chosen on
validation. A run is in runs/plane/SYSTEM_SET_SEED; finished ones are read. With `--only SYSTEM ...` just these are run,
and the others stay as they are recorded. The numbers are written to experiments/results/plane.json, and `make tables`
puts them into RESULTS.md.
"""

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import KernelDensity

sys.path.insert(0, str(Path(__file__).parent))
import truth

from gen_jax import InputError, runtime
from gen_jax.data.prepared import load
from gen_jax.density import Chain
from gen_jax.disk import write_atomically
from gen_jax.experiment import Experiment, load_config
from gen_jax.included import CONFIGS, RESULTS, SOURCE
from gen_jax.runs import results
from gen_jax.runs.run import Run
from gen_jax.runs.splits import load_split
from gen_jax.train import seeds

SETS = tuple(truth.DENSITIES)
# By system: its config for each set, where {set} is the name, or the config of one set with changed fields.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "real_nvp": ("real_nvp_moons.py", "data.name={set}"),
    "glow": ("glow_moons.py", "data.name={set}"),
    "ffjord": ("ffjord_planar.py:ffjord_{set}",),
    "ddpm": ("ddpm_planar.py:ddpm_{set}",),
}
SEEDS = (0, 1, 2)
BANDWIDTHS = tuple(0.01 * 1.25**i for i in range(16))  # 0.01 to 0.28


def main() -> int:
    """Run everything; if a data set is not prepared, print a sentence and return status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=SOURCE / "runs" / "plane")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=tuple(SYSTEMS))
    args = parser.parse_args()
    runtime.set_up()
    try:
        print(plane(args.runs, RESULTS, args.only))
    except InputError as error:
        print(f"plane: {error}", file=sys.stderr)
        return 2
    return 0


def plane(
    runs: Path,
    out: Path,
    systems: Sequence[str] = tuple(SYSTEMS),
    overrides: Sequence[str] = (),
    data_dir: Path | None = None,
) -> Path:
    """Every set, system and seed; returns the JSON file, in which other systems stay."""
    path = out / "plane.json"
    before = json.loads(path.read_text()) if path.exists() else {"rows": []}
    recorded = {row["set"]: row["systems"] for row in before["rows"]}
    rows, records = [], []
    for name in SETS:
        row: dict[str, Any] = {"set": name, **limits(name, data_dir)}
        row["systems"] = dict(recorded.get(name, {}))
        for system in systems:
            done = of_seeds(name, system, runs, overrides, data_dir)
            row["systems"][system] = over_seeds(done)
            records += done
        rows.append(row)
    if any(row["systems"].keys() - set(systems) for row in rows):
        records.append(before)  # stands for the runs of the systems that stay
    shared = seeds.shared(records, ("device", "cpu", "threads", "git", "dirty"))
    write_atomically(path, results.dumps({"plane": "nats", "seeds": SEEDS, **shared, "rows": rows}))
    return path


def limits(name: str, data_dir: Path | None) -> dict[str, Any]:
    """-log p of the test points under the true density and under a kernel density estimate, nats."""
    train, validation, test = (
        np.asarray(load(name, split, data_dir).x, np.float64)
        for split in ("train", "validation", "test")
    )
    true = -truth.log_density(name, test)
    chosen = max(BANDWIDTHS, key=lambda h: kernel(train, h).score(validation[:2000]))
    estimated = -kernel(train, chosen).score_samples(test)
    return {
        "num_examples": len(test),
        "truth": float(true.mean()),
        "kernel": float(estimated.mean()),
        "bandwidth": round(chosen, 4),
        "stderr": float(true.std(ddof=1) / np.sqrt(len(test))),
    }


def kernel(x: np.ndarray, bandwidth: float) -> KernelDensity:
    """The mean of Gaussians around the points."""
    estimate: Any = KernelDensity
    return estimate(bandwidth=bandwidth, rtol=1e-4).fit(x)


def of_seeds(
    name: str,
    system: str,
    runs: Path,
    overrides: Sequence[str],
    data_dir: Path | None,
) -> list[dict[str, Any]]:
    """The record of a system on a set at each seed."""
    judged, records = functools.partial(judge, data_dir=data_dir), []
    for seed in SEEDS:
        print(f"{system} on {name}, seed {seed}", file=sys.stderr)
        experiment = of(name, system, [*overrides, f"seed={seed}"])
        folder = runs / f"{system}_{name}_{seed}"
        records.append(seeds.finished(experiment, folder, judged, data_dir))
    return records


def over_seeds(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Test nats at each seed, their mean and deviation, and how they are computed."""
    nats = [record["nats"] for record in records]
    return {
        "value": records[0]["value"],
        "draws": records[0]["draws"],
        "solver": records[0]["solver"],
        "nats": nats,
        "mean": float(np.mean(nats)),
        "deviation": float(np.std(nats, ddof=1)),
        **{key: seeds.over(records)[key] for key in ("parameters", "seconds")},
    }


def of(name: str, system: str, changes: Sequence[str]) -> Experiment:
    """The experiment of a system on a set."""
    config, *fields = (part.format(set=name) for part in SYSTEMS[system])
    return load_config(CONFIGS / config, [*fields, *changes])


def judge(run: Run, data_dir: Path | None) -> dict[str, Any]:
    """The record of the test number, of a diffusion by its probability-flow ODE."""
    if isinstance(run.experiment.model, Chain):
        run = run.by_ode()
    test = load_split(run.experiment, "test", data_dir)
    record = results.record(run, test, run.likelihoods()(run.variables, test))
    return {**record, "selected_step": run.step}


if __name__ == "__main__":
    sys.exit(main())
