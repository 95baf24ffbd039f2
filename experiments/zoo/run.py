"""Every image system on digits under one protocol, three seeds each: `make zoo`, some hours on 2 CPU cores.

Samples are compared with test images on features of a classifier, which is trained first. A run is in
runs/zoo/CONFIG_SEED. Finished runs are read, interrupted ones continue. When all are finished, their numbers are
written to experiments/results/zoo_digits.json, and `make tables` puts them into RESULTS.md. With `--only SYSTEM ...`
just these are run, and the rows of all others stay as they are recorded.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from gen_jax import InputError, runtime, sharding
from gen_jax.bench import timing
from gen_jax.density import fold_in, root_key
from gen_jax.disk import write_atomically
from gen_jax.evaluate import distances, draw, file_size
from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS, RESULTS, SOURCE
from gen_jax.laws import certify
from gen_jax.runs import results
from gen_jax.runs.run import Run, load_run
from gen_jax.runs.splits import load_split
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import seeds
from gen_jax.train.loop import train

# Configs of experiments/configs with their changed fields; their budgets are about two minutes on 2 cores.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "independent": (),
    "markov": (),
    "nade": (),
    "made": (),
    "pixel_cnn": (),
    "pixel_rnn_row": (),
    "pixel_rnn_diagonal": (),
    "gated_pixel_cnn": (),
    "pixel_cnn_pp": (),
    "pixel_cnn_gray": (),
    "pixel_cnn_pyramid": (),
    "pixel_snail": (),
    "lm_conv": (),
    "sparse_transformer": (),
    "image_transformer": (),
    "image_gpt": (),
    "dist_aug": (),
    "rnn": (),
    "lstm": (),
    "gru": (),
    "vae": (),
    "iwae": (),
    "pixel_vae": (),
    "vimco": (),
    "vd_vae": (),
    "real_nvp": (),
    "glow": (),
    "tar_flow": (),
    "ffjord": (),
    "flow_pp": (),
    "flow_pp_uniform": (),
    "ddpm": (),
    "vdm": (),
    "gan": (),
    "vq_vae": (),
    "vq_vae_prior": ("first_stage={runs}/vq_vae_{seed}",),
    "vq_vae_2": (),
    "vq_vae_2_prior": ("first_stage={runs}/vq_vae_2_{seed}",),
}
SEEDS = (0, 1, 2)
DRAWN = 64
LAW_EXAMPLES = 12


def main() -> int:
    """Run everything; if the data set is not prepared, print a sentence and return status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=SOURCE / "runs" / "zoo")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=tuple(SYSTEMS))
    args = parser.parse_args()
    runtime.set_up()
    try:
        print(zoo(args.runs, RESULTS, args.only))
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
    """Every seed of these systems; returns the JSON file, in which the rows of other systems stay."""
    path = out / "zoo_digits.json"
    before = json.loads(path.read_text()) if path.exists() else {"rows": []}
    rows, records = {row["system"]: row for row in before["rows"]}, []
    classifier = trained_classifier(runs, overrides, data_dir)
    for system in systems:
        done = []
        for seed in SEEDS:
            changes = [change.format(runs=runs, seed=seed) for change in SYSTEMS[system]]
            changes += [*overrides, f"seed={seed}"]
            experiment = load_config(CONFIGS / f"{system}_digits.py", changes)
            print(f"{system} on digits, seed {seed}", file=sys.stderr)
            folder, thorough = runs / f"{system}_{seed}", seed == SEEDS[0]
            judged = partial(judge, classifier=classifier if thorough else None, data_dir=data_dir)
            done.append(seeds.finished(experiment, folder, judged, data_dir))
        records += done
        first = {name: done[0][name] for name in ("kind", "value", "draws", "steps", *FIRST)}
        solver = {"solver": done[0]["solver"]} if done[0].get("solver") else {}
        rows[system] = {"system": system, **first, **solver, **seeds.over(done)}
    if rows.keys() - set(systems):
        records.append(before)  # stands for the runs of the rows that stay
    common = ("num_examples", "device", "cpu", "threads", "git", "dirty")
    ordered = [rows[system] for system in SYSTEMS if system in rows]
    tree = {"zoo": "digits", "seeds": SEEDS, **seeds.shared(records, common), "rows": ordered}
    write_atomically(path, results.dumps(tree))
    return path


FIRST = ("certified", "file", "distances", "sample_seconds", "sample_cost")


def trained_classifier(runs: Path, overrides: Sequence[str], data_dir: Path | None) -> Run:
    """The classifier of digits, trained if it does not exist."""
    folder = runs / "classifier"
    train(load_config(CONFIGS / "classifier_digits.py", overrides), WorkDir(folder), data_dir)
    return load_run(folder)


def judge(run: Run, classifier: Run | None, data_dir: Path | None) -> dict[str, Any]:
    """The test number; with a classifier also certificate, size of the test split, distances and cost of samples."""
    test, model, cost = load_split(run.experiment, "test", data_dir), run.experiment.model, {}
    file = distance = result = None
    certified = False
    if classifier is not None:
        file = file_size.measure(run, test, len(test)) if model.codec != "none" else None
        distance = distances.measure(run, test, classifier, data_dir=data_dir)
        cost = sampling_cost(run)
    if model.kind != "none":
        result = run.likelihoods()(run.variables, test)
    if classifier is not None and model.kind != "none":
        validation = load_split(run.experiment, "validation", data_dir)
        laws = certify.certify(run, validation, LAW_EXAMPLES)
        write_atomically(run.workdir.certificate, results.dumps(laws))
        certified = laws["passed"]
    record = results.record(run, test, result, file, distance, certified)
    return {**record, "selected_step": run.step, **cost}


def sampling_cost(run: Run) -> dict[str, Any]:
    """Seconds for 64 samples, and their cost in evaluations of log p with one draw each (None without log p)."""
    model, key = run.model, fold_in(root_key(0), "cost")
    sampler, variables = draw.sampler(model, run.mesh), run.variables
    labels = draw.labels_for(run, DRAWN, None)
    cond = None if labels is None else sharding.put_rows(labels, run.mesh)
    programs = {"sample": lambda: sampler(variables, key, DRAWN, cond, 1.0)}
    if run.experiment.model.kind != "none":
        x, log_prob = programs["sample"](), jax.jit(model.log_prob)
        programs["log_prob"] = lambda: log_prob(variables, x, key, cond)
    times = timing.turns(programs)
    cost = {"sample_cost": None}
    if "log_prob" in times:
        cost = timing.summary("sample_cost", timing.ratios(times["sample"], times["log_prob"]))
    return {**timing.summary("sample_seconds", times["sample"]), **cost}


if __name__ == "__main__":
    sys.exit(main())
