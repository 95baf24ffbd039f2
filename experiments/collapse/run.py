"""Posterior collapse on digits, shown and cured: `python experiments/collapse/run.py`, about 15 minutes on 2 CPU cores.

A strong decoder or a heavy KL drives KL and active units to 0; free bits or annealing keep z in use. Each run is a
config of experiments/configs with changed fields; runs lie in runs/collapse, what is finished there is read.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gen_jax import runtime
from gen_jax.evaluate import results
from gen_jax.evaluate.catalogue import CONFIGS, SOURCE
from gen_jax.experiment import load_config
from gen_jax.train.loop import train
from gen_jax.train.workdir import WorkDir, write_atomically

STEPS = 1000
COMMON = (f"steps={STEPS}", f"optimizer.learning_rate.steps={STEPS}", "evaluate.every=100")
PLAIN = ("model.kl.free_bits=0",)
RUNS = {
    "pixel_vae": ("pixel_vae_digits", PLAIN),
    "pixel_vae_free_bits": ("pixel_vae_digits", ()),
    "pixel_vae_annealing": ("pixel_vae_digits", (*PLAIN, "model.kl.annealing=800")),
    "vae": ("vae_digits", ()),
    "vae_beta": ("vae_digits", ("model.kl.beta=30",)),
    "vae_beta_free_bits": ("vae_digits", ("model.kl.beta=30", "model.kl.free_bits=4")),
}
COLUMNS = ("kl", "active_units", "reconstruction", "bits_per_dim")


def main() -> int:
    """Run all; the table goes to standard output, its numbers to collapse.json beside the runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=SOURCE / "runs" / "collapse")
    args = parser.parse_args()
    runtime.set_up()
    rows = [trained(name, args.runs / name) for name in RUNS]
    found = {"collapse": "digits", "steps": STEPS, "rows": rows}
    write_atomically(args.runs / "collapse.json", results.dumps(found))
    print(table(rows))
    return 0


def trained(
    name: str, folder: Path, overrides: Sequence[str] = (), data_dir: Path | None = None
) -> dict[str, Any]:
    """Train, or go on, and read the last validation: of the last weights, not of the best."""
    config, changes = RUNS[name]
    workdir = WorkDir(folder)
    train(load_config(CONFIGS / f"{config}.py", [*COMMON, *changes, *overrides]), workdir, data_dir)
    last = [line for line in workdir.metrics_rows() if line["split"] == "validation"][-1]
    return {"run": name, "changes": list(changes), **{column: last[column] for column in COLUMNS}}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| run | changed | KL | active units | reconstruction | bits/dim |",
        "|" + " --- |" * 6,
    ]
    for one in rows:
        changed = ", ".join(one["changes"]) or "-"
        numbers = f"{one['kl']:.2f} | {one['active_units']:.0f} | {one['reconstruction']:.2f}"
        lines.append(f"| {one['run']} | {changed} | {numbers} | <= {one['bits_per_dim']:.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
