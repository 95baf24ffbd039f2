"""Posterior collapse on digits, and remedies: `python experiments/collapse/run.py`, about 10 minutes on 2 CPU cores.

A large KL weight drives the KL and the number of active units to 0. With an autoregressive decoder z is nearly unused
at KL weight 1 and unused at weight 2. Free bits or annealing keep z in use. Each run is a config of experiments/configs
with changed fields. Runs are in runs/collapse; finished ones are read. The numbers are written to
experiments/results/collapse_digits.json, and `make tables` puts them into RESULTS.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gen_jax import InputError, runtime
from gen_jax.disk import write_atomically
from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS, RESULTS, SOURCE
from gen_jax.runs import results
from gen_jax.runs.provenance import machine, revision
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

STEPS = 1000
COMMON = (f"steps={STEPS}", f"optimizer.learning_rate.steps={STEPS}", "evaluate.every=100")
PLAIN = ("model.kl.free_bits=0",)
HEAVIER = (*PLAIN, "model.kl.beta=2")
RUNS = {
    "vae": ("vae_digits", ()),
    "vae_beta_2": ("vae_digits", ("model.kl.beta=2",)),
    "vae_beta_30": ("vae_digits", ("model.kl.beta=30",)),
    "vae_beta_30_free_bits": ("vae_digits", ("model.kl.beta=30", "model.kl.free_bits=4")),
    "pixel_vae": ("pixel_vae_digits", PLAIN),
    "pixel_vae_free_bits": ("pixel_vae_digits", ()),
    "pixel_vae_annealing": ("pixel_vae_digits", (*PLAIN, "model.kl.annealing=800")),
    "pixel_vae_beta_2": ("pixel_vae_digits", HEAVIER),
    "pixel_vae_beta_2_free_bits": ("pixel_vae_digits", ("model.kl.beta=2",)),
}
COLUMNS = ("kl", "active_units", "reconstruction", "bits_per_dim")


def main() -> int:
    """Run everything; if the data set is not prepared, print a sentence and return status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=SOURCE / "runs" / "collapse")
    args = parser.parse_args()
    runtime.set_up()
    try:
        rows = [trained(name, args.runs / name) for name in RUNS]
    except InputError as error:
        print(f"collapse: {error}", file=sys.stderr)
        return 2
    path = RESULTS / "collapse_digits.json"
    record = {"collapse": "digits", "steps": STEPS, **machine(), **revision(), "rows": rows}
    write_atomically(path, results.dumps(record))
    print(path)
    return 0


def trained(
    name: str, folder: Path, overrides: Sequence[str] = (), data_dir: Path | None = None
) -> dict[str, Any]:
    """Train, or continue, and read the last validation: that of the last weights, not of the best."""
    config, changes = RUNS[name]
    workdir = WorkDir(folder)
    train(load_config(CONFIGS / f"{config}.py", [*COMMON, *changes, *overrides]), workdir, data_dir)
    last = [line for line in workdir.metrics_rows() if line["split"] == "validation"][-1]
    return {"run": name, "changes": list(changes), **{column: last[column] for column in COLUMNS}}


if __name__ == "__main__":
    sys.exit(main())
