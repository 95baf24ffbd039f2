"""Train and evaluate every variant of the PixelCNN story: `make ablations`, or this file with the data sets to run.

A run lies in runs/ablations/VARIANT_DATASET_SEED. What is finished there is read, what is begun goes on. When all runs
of a data set are finished, experiments/results/ablations_DATASET.json holds their numbers.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import InputError, runtime
from gen_jax.data.prepared import prepared_folder
from gen_jax.evaluate import results
from gen_jax.evaluate.catalogue import RESULTS, SOURCE, docstring
from gen_jax.evaluate.run import load_run
from gen_jax.experiment import Experiment, differences, load_config, to_tree
from gen_jax.train.loop import load_split, train
from gen_jax.train.workdir import WorkDir, write_atomically

DATASETS = ("digits", "mnist")
VARIANTS = (
    "pixel_cnn",
    "gated_pixel_cnn",
    "pixel_cnn_pp",
    "softmax",
    "one_stream",
    "no_skips",
    "no_strides",
    "no_dropout",
)
SEEDS = (0, 1, 2)
TEST_EXAMPLES = {"mnist": 1000}  # the first so many, else all
TRAIN_EXAMPLES = 500  # of the training split, to see how far its number lies below the test's


def main() -> int:
    """Run the data sets named; one that is not prepared costs a sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("datasets", nargs="*", metavar="dataset", help=" or ".join(DATASETS))
    parser.add_argument("--runs", type=Path, default=SOURCE / "runs" / "ablations")
    args = parser.parse_args()
    unknown = [name for name in args.datasets if name not in DATASETS]
    if unknown:
        parser.error(f"there are ablations on {' and '.join(DATASETS)}, not on {unknown[0]}")
    runtime.set_up()
    for dataset in args.datasets or DATASETS:
        try:
            prepared_folder(dataset)
        except InputError as error:
            print(f"no ablations on {dataset}: {error}", file=sys.stderr)
            continue
        try:
            print(ablate(dataset, args.runs, RESULTS))
        except InputError as error:
            print(f"ablations on {dataset}: {error}", file=sys.stderr)
            return 2
    return 0


def ablate(
    dataset: str,
    runs: Path,
    out: Path,
    variants: Sequence[str] = VARIANTS,
    overrides: Sequence[str] = (),
    data_dir: Path | None = None,
) -> Path:
    """All variants and seeds on a data set; returns the JSON file."""
    rows, records = [], []
    for variant in variants:
        config, done = config_path(variant, dataset), []
        for seed in SEEDS:
            experiment = load_config(config, [*overrides, f"seed={seed}"])
            print(f"{variant} on {dataset}, seed {seed}", file=sys.stderr)
            done.append(finished(experiment, runs / f"{variant}_{dataset}_{seed}", data_dir))
        records += done
        rows.append(row(variant, change(config), done))
    common = ("test_examples", "train_examples", "steps", "batch_size")
    common += ("device", "cpu", "threads", "git", "dirty")
    shared = {name: one({record[name] for record in records}) for name in common}
    path = out / f"ablations_{dataset}.json"
    write_atomically(path, results.dumps({"ablation": dataset, **shared, "rows": rows}))
    return path


def config_path(variant: str, dataset: str) -> Path:
    """The config of a variant."""
    return Path(__file__).with_name(f"{variant}_{dataset}.py")


def change(config: Path) -> str:
    """The config's own words on what it changes."""
    [line] = [line for line in docstring(config) if line.startswith("Change: ")]
    return line.removeprefix("Change: ")


def finished(experiment: Experiment, folder: Path, data_dir: Path | None) -> dict[str, Any]:
    """The numbers of a run: read where it was finished by the same experiment, else trained and evaluated."""
    workdir, kept = WorkDir(folder), folder / "ablation.json"
    if kept.exists() and not differences(workdir.read()["experiment"], to_tree(experiment)):
        return json.loads(kept.read_text())
    train(experiment, workdir, data_dir)
    run = load_run(folder)
    likelihoods = run.likelihoods()
    test, training = (load_split(experiment, name, data_dir) for name in ("test", "train"))
    on_test = likelihoods(run.variables, test, TEST_EXAMPLES.get(test.dataset))
    on_train = likelihoods(run.variables, training, TRAIN_EXAMPLES)
    record = {
        **results.record(run, test, on_test),
        "selected_step": run.step,
        "batch_size": experiment.batch_size,
        "test_examples": len(on_test.per_example),
        "train_examples": len(on_train.per_example),
        "train_bits_per_dim": on_train.bits_per_dim,
    }
    write_atomically(kept, results.dumps(record))
    return record


def row(variant: str, changed: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One variant over its seeds; the deviation is that of a single seed, the standard error that of the test set."""
    values = [record["bits_per_dim"] for record in records]
    return {
        "variant": variant,
        "change": changed,
        "parameters": one({record["parameters"] for record in records}),
        "bits_per_dim": values,
        "mean": float(np.mean(values)),
        "seed_deviation": float(np.std(values, ddof=1)),
        "stderr": records[0]["stderr"],
        "train_bits_per_dim": float(np.mean([r["train_bits_per_dim"] for r in records])),
        "selected_steps": [record["selected_step"] for record in records],
        "seconds": round(float(np.mean([record["seconds"] for record in records])), 1),
    }


def one(values: set[Any]) -> Any:
    """What all runs have in common, else all there are, in a list."""
    return next(iter(values)) if len(values) == 1 else sorted(values, key=str)


if __name__ == "__main__":
    sys.exit(main())
