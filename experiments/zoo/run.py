"""Every image system on digits by one protocol, three seeds each: `make zoo`, some hours on 2 CPU cores.

A run lies in runs/zoo/CONFIG_SEED. What is finished there is read, what is begun goes on. When all are finished,
experiments/results/zoo_digits.json holds their numbers and `make tables` writes them into RESULTS.md.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from gen_jax import InputError, runtime
from gen_jax.bench import timing
from gen_jax.density import fold_in
from gen_jax.evaluate import certify, draw, file_size, results, seeds
from gen_jax.evaluate.catalogue import CONFIGS, RESULTS, SOURCE
from gen_jax.evaluate.run import Run
from gen_jax.experiment import load_config
from gen_jax.train import sharding
from gen_jax.train.loop import load_split
from gen_jax.train.workdir import write_atomically

# A config of experiments/configs and what is changed of it: budgets of about two minutes on 2 cores.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "independent": (),
    "markov": (),
    "pixel_cnn": (),
    "gated_pixel_cnn": (),
    "pixel_cnn_pp": ("steps=600", "optimizer.learning_rate.steps=600"),
    "pixel_snail": (),
    "vae": (),
    "iwae": (),
    "pixel_vae": (),
    "ddpm": (),
    "vq_vae": (),
    "vq_vae_prior": ("first_stage={runs}/vq_vae_{seed}",),
}
SEEDS = (0, 1, 2)
DRAWN = 64
LAW_EXAMPLES = 12


def main() -> int:
    """Run all; a data set that is not prepared costs a sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=SOURCE / "runs" / "zoo")
    args = parser.parse_args()
    runtime.set_up()
    try:
        print(zoo(args.runs, RESULTS))
    except InputError as error:
        print(f"zoo: {error}", file=sys.stderr)
        return 2
    return 0


def zoo(
    runs: Path,
    out: Path,
    systems: Sequence[str] = tuple(SYSTEMS),
    overrides: Sequence[str] = (),
    data_dir: Path | None = None,
) -> Path:
    """All systems and seeds; returns the JSON file."""
    rows, records = [], []
    for system in systems:
        done = []
        for seed in SEEDS:
            changes = [one.format(runs=runs, seed=seed) for one in SYSTEMS[system]]
            changes += [*overrides, f"seed={seed}"]
            experiment = load_config(CONFIGS / f"{system}_digits.py", changes)
            print(f"{system} on digits, seed {seed}", file=sys.stderr)
            folder, thorough = runs / f"{system}_{seed}", seed == SEEDS[0]
            judged = partial(judge, thorough=thorough, data_dir=data_dir)
            done.append(seeds.finished(experiment, folder, judged, data_dir))
        records += done
        first = {name: done[0][name] for name in ("kind", "value", "draws", "steps", *FIRST)}
        rows.append({"system": system, **first, **seeds.over(done)})
    common = ("num_examples", "device", "cpu", "threads", "git", "dirty")
    shared = {name: seeds.one({record[name] for record in records}) for name in common}
    path = out / "zoo_digits.json"
    write_atomically(path, results.dumps({"zoo": "digits", "seeds": SEEDS, **shared, "rows": rows}))
    return path


FIRST = ("certified", "file", "sample_seconds", "sample_cost")


def judge(run: Run, thorough: bool, data_dir: Path | None) -> dict[str, Any]:
    """The test number; of the first seed also certificate, size of the test split as a file and cost of samples."""
    test, file, cost = load_split(run.experiment, "test", data_dir), None, {}
    if thorough:
        validation = load_split(run.experiment, "validation", data_dir)
        found = certify.certify(run, validation, LAW_EXAMPLES)
        write_atomically(run.workdir.certificate, results.dumps(found))
        if run.experiment.model.codec != "none":
            file = file_size.measure(run, test, len(test))
        cost = sampling_cost(run)
    record = results.record(run, test, run.likelihoods()(run.variables, test), file)
    return {**record, "selected_step": run.step, **cost}


def sampling_cost(run: Run) -> dict[str, float]:
    """Seconds of drawing 64 images, and how many evaluations of their log p, one draw each, take as long."""
    model, key = run.model, fold_in(jax.random.key(0), "cost")
    sampler, variables = draw.sampler(model, run.mesh), run.variables
    labels = draw.labels_for(run, DRAWN, None)
    cond = None if labels is None else sharding.put_rows(labels, run.mesh)
    x = sampler(variables, key, DRAWN, cond, 1.0)
    log_prob = jax.jit(model.log_prob)
    found = timing.turns(
        {
            "sample": lambda: sampler(variables, key, DRAWN, cond, 1.0),
            "log_prob": lambda: log_prob(variables, x, key, cond),
        }
    )
    return {
        **timing.summary("sample_seconds", found["sample"]),
        **timing.summary("sample_cost", timing.ratios(found["sample"], found["log_prob"])),
    }


if __name__ == "__main__":
    sys.exit(main())
