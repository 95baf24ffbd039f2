"""Train and evaluate every variant of the ablations: `make ablations`, or this file with the data sets to run.

These are the PixelCNN story, and on digits the Sparse Transformer without and with distribution augmentation. A run is
in runs/ablations/VARIANT_DATASET_SEED, one of the zoo in runs/zoo/VARIANT_SEED. Finished runs are read, interrupted
ones continue. When all runs of a data set are finished, their numbers are written to
experiments/results/ablations_DATASET.json. With `--only VARIANT ...` just these are run, and the rows of all others
stay as they are recorded.
"""

import argparse
import json
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
from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS, RESULTS, SOURCE
from gen_jax.runs import results
from gen_jax.runs.run import Run
from gen_jax.runs.splits import load_split
from gen_jax.train import seeds

STORY = Path(__file__).with_name("pixel_cnn_story.py")
_NAMES = runpy.run_path(str(STORY), run_name=STORY.stem)
CHANGES, DATASETS = _NAMES["CHANGES"], _NAMES["DATASETS"]
# Configs of digits that the zoo trains: one network without and with distribution augmentation.
IN_ZOO = {"sparse_transformer": "model", "dist_aug": "model=DistAug(sparse_transformer)"}
SEEDS = (0, 1, 2)
TEST_EXAMPLES = {"mnist": 1000}  # number of test examples; other data sets use all
TRAIN_EXAMPLES = {"digits": 1000, "mnist": 500}  # of train, to compare with the test number
JUDGED = "ablation.json"  # the record in the folder of a run


def main() -> int:
    """Run the named data sets; one that is not prepared is skipped with a sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("datasets", nargs="*", metavar="dataset", help=" or ".join(DATASETS))
    parser.add_argument("--runs", type=Path, default=SOURCE / "runs" / "ablations")
    parser.add_argument("--zoo", type=Path, default=SOURCE / "runs" / "zoo")
    parser.add_argument("--only", nargs="+", choices=[*CHANGES, *IN_ZOO], metavar="VARIANT")
    args = parser.parse_args()
    unknown = [name for name in args.datasets if name not in DATASETS]
    if unknown:
        parser.error(f"ablations exist for {' and '.join(DATASETS)}, not for {unknown[0]}")
    runtime.set_up()
    for dataset in args.datasets or DATASETS:
        variants = [name for name in changes(dataset) if name in (args.only or (name,))]
        if not variants:
            continue
        try:
            prepared_folder(dataset)
        except InputError as error:
            print(f"no ablations on {dataset}: {error}", file=sys.stderr)
            continue
        try:
            print(ablate(dataset, args.runs, RESULTS, variants, zoo=args.zoo))
        except InputError as error:
            print(f"ablations on {dataset}: {error}", file=sys.stderr)
            return 2
    return 0


def changes(dataset: str) -> dict[str, str]:
    """Every variant on a data set with its change."""
    return {**CHANGES, **IN_ZOO} if dataset == "digits" else CHANGES


def ablate(
    dataset: str,
    runs: Path,
    out: Path,
    variants: Sequence[str],
    overrides: Sequence[str] = (),
    data_dir: Path | None = None,
    zoo: Path = SOURCE / "runs" / "zoo",
) -> Path:
    """These variants on a data set at every seed; returns the JSON file, in which the rows of other variants stay."""
    path = out / f"ablations_{dataset}.json"
    before = json.loads(path.read_text()) if path.exists() else {"rows": []}
    rows, records = {row["variant"]: row for row in before["rows"]}, []
    for variant in variants:
        config, done = config_path(variant, dataset), []
        for seed in SEEDS:
            experiment = load_config(config, [*overrides, f"seed={seed}"])
            print(f"{variant} on {dataset}, seed {seed}", file=sys.stderr)
            judged = partial(judge, data_dir=data_dir)
            of_zoo, own = zoo / f"{variant}_{seed}", runs / f"{variant}_{dataset}_{seed}"
            folder = of_zoo if variant in IN_ZOO else own
            done.append(seeds.finished(experiment, folder, judged, data_dir, JUDGED))
        records += done
        rows[variant] = row(variant, changes(dataset)[variant], done)
    if rows.keys() - set(variants):
        records.append(before)  # stands for the runs of the rows that stay
    common = ("test_examples", "train_examples", "steps", "batch_size")
    common += ("device", "cpu", "threads", "git", "dirty")
    shared = seeds.shared(records, common)
    ordered = [rows[variant] for variant in changes(dataset) if variant in rows]
    write_atomically(path, results.dumps({"ablation": dataset, **shared, "rows": ordered}))
    return path


def config_path(variant: str, dataset: str) -> Path:
    """The config of a variant."""
    if variant in IN_ZOO:
        return CONFIGS / f"{variant}_{dataset}.py"
    return STORY.with_name(f"{STORY.name}:{variant}_{dataset}")


def judge(run: Run, data_dir: Path | None) -> dict[str, Any]:
    """The run's number on test images and, for comparison, on training images."""
    experiment, likelihoods = run.experiment, run.likelihoods()
    test, training = (load_split(experiment, name, data_dir) for name in ("test", "train"))
    on_test = likelihoods(run.variables, test, TEST_EXAMPLES.get(test.dataset))
    on_train = likelihoods(run.variables, training, TRAIN_EXAMPLES[training.dataset])
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
