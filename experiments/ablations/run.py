"""Train and evaluate every variant of the PixelCNN story: `make ablations`, or this file with the data sets to run.

A run is in runs/ablations/VARIANT_DATASET_SEED. Finished runs are read, interrupted ones continue. When all runs of a
data set are finished, their numbers are written to experiments/results/ablations_DATASET.json.
"""

import argparse
import runpy
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import InputError, runtime
from gen_jax.data.prepared import prepared_folder
from gen_jax.disk import write_atomically
from gen_jax.evaluate.catalogue import RESULTS, SOURCE
from gen_jax.experiment import load_config
from gen_jax.runs import results
from gen_jax.runs.run import Run
from gen_jax.runs.splits import load_split
from gen_jax.train import seeds

STORY = Path(__file__).with_name("pixel_cnn_story.py")
_NAMES = runpy.run_path(str(STORY), run_name=STORY.stem)
CHANGES, DATASETS = _NAMES["CHANGES"], _NAMES["DATASETS"]
SEEDS = (0, 1, 2)
TEST_EXAMPLES = {"mnist": 1000}  # number of test examples; other data sets use all
TRAIN_EXAMPLES = 500  # number of training examples, to compare with the test number


def main() -> int:
    """Run the named data sets; one that is not prepared is skipped with a sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("datasets", nargs="*", metavar="dataset", help=" or ".join(DATASETS))
    parser.add_argument("--runs", type=Path, default=SOURCE / "runs" / "ablations")
    args = parser.parse_args()
    unknown = [name for name in args.datasets if name not in DATASETS]
    if unknown:
        parser.error(f"ablations exist for {' and '.join(DATASETS)}, not for {unknown[0]}")
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
    variants: Sequence[str] = tuple(CHANGES),
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
            folder = runs / f"{variant}_{dataset}_{seed}"
            done.append(
                seeds.finished(experiment, folder, partial(judge, data_dir=data_dir), data_dir)
            )
        records += done
        rows.append(row(variant, CHANGES[variant], done))
    common = ("test_examples", "train_examples", "steps", "batch_size")
    common += ("device", "cpu", "threads", "git", "dirty")
    shared = {name: seeds.common({record[name] for record in records}) for name in common}
    path = out / f"ablations_{dataset}.json"
    write_atomically(path, results.dumps({"ablation": dataset, **shared, "rows": rows}))
    return path


def config_path(variant: str, dataset: str) -> Path:
    """The config of a variant."""
    return STORY.with_name(f"{STORY.name}:{variant}_{dataset}")


def judge(run: Run, data_dir: Path | None) -> dict[str, Any]:
    """The run's number on test images and, for comparison, on training images."""
    experiment, likelihoods = run.experiment, run.likelihoods()
    test, training = (load_split(experiment, name, data_dir) for name in ("test", "train"))
    on_test = likelihoods(run.variables, test, TEST_EXAMPLES.get(test.dataset))
    on_train = likelihoods(run.variables, training, TRAIN_EXAMPLES)
    return {
        **results.record(run, test, on_test),
        "selected_step": run.step,
        "batch_size": experiment.batch_size,
        "test_examples": len(on_test.per_example),
        "train_examples": len(on_train.per_example),
        "train_bits_per_dim": on_train.bits_per_dim,
    }


def row(variant: str, changed: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of a variant over its seeds."""
    on_train = float(np.mean([record["train_bits_per_dim"] for record in records]))
    head = {"variant": variant, "change": changed}
    return {**head, **seeds.over(records), "train_bits_per_dim": on_train}


if __name__ == "__main__":
    sys.exit(main())
