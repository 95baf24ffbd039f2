"""Linear probes: how well a linear map of a block's features predicts the classes of a data set.

log p(k | x) = W f(x) + b, normalised, where f is the mean of a block's output over all places (Chen et al. 2020,
"Generative Pretraining from Pixels", section 2.4). The network is not trained. Features are standardised with their
means and standard deviations on train. W has an L2 penalty |W|^2 / (2 C); C is the best of `PENALTIES` on validation.
The accuracy is measured on the test split, with its binomial standard error.
"""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression

from gen_jax import fingerprint
from gen_jax.data.palette import colours_of
from gen_jax.data.prepared import Split, SplitError
from gen_jax.errors import InputError
from gen_jax.evaluate import features
from gen_jax.runs import provenance
from gen_jax.runs.run import Run
from gen_jax.runs.splits import judged_split, load_split

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C; the first is the strongest penalty
STEPS = 500  # at most, of L-BFGS
PART = 10  # one part in ten of train serves as validation if there is no other split


class Examples(NamedTuple):
    """Features and classes of the three splits."""

    train: tuple[Float[np.ndarray, "n F"], Int[np.ndarray, " n"]]
    validation: tuple[Float[np.ndarray, "v F"], Int[np.ndarray, " v"]]
    test: tuple[Float[np.ndarray, "t F"], Int[np.ndarray, " t"]]


def measure(
    run: Run,
    data_dir: Path | None = None,
    block: int | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """The accuracy of a probe of each block, or of `block` only, and of a probe of the values themselves.

    `limit`: number of training examples. InputError if the model is conditioned on the class, exposes no blocks or
    fewer than `block`, or if the data set has no classes.
    """
    started = time.monotonic()
    if run.conditional:
        raise InputError(f"{run.experiment.system} is given the class: a probe would read it")
    test = judged_split(run.experiment, data_dir)
    if test.labels is None:
        raise InputError(f"data set {test.dataset} has no classes to tell")
    train, validation = _others(run, test, data_dir)
    train = _first(train, limit)
    count = features.num_blocks(run, test.x[:1])
    chosen = range(1, count + 1) if block is None else (features.chosen(run, count, block),)
    splits = (train, validation, test)
    embedded = [features.blocks(run, split, chosen) for split in splits]
    values = [_values(split) for split in splits]
    labels = [np.asarray(split.labels) for split in splits]
    return {
        "system": run.experiment.system,
        "dataset": test.dataset,
        "dataset_version": test.version,
        "split": test.split,
        "num_examples": len(test),
        "training_examples": len(train),
        "classes": test.num_classes,
        "step": run.step,
        "weights": fingerprint.of_variables(run.variables),
        "solver": f"scikit-learn {sklearn.__version__}, L-BFGS, C by {validation.split}",
        "values": probe(Examples(*zip(values, labels, strict=True))),
        "blocks": [
            {"block": number, **probe(Examples(*zip(rows, labels, strict=True)))}
            for number, rows in zip(chosen, zip(*embedded, strict=True), strict=True)
        ],
        "seconds": round(time.monotonic() - started, 1),
        **provenance.revision(),
    }


def probe(examples: Examples) -> dict[str, Any]:
    """The accuracy on test with the penalty that is best on validation; the stronger one if two are equal."""
    features, labels = examples.train
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1)
    standardised = [(f - mean) / scale for f, _ in examples]
    fitted: Any = LogisticRegression(max_iter=STEPS, warm_start=True)
    best = (-1.0, 0.0, 0.0)
    for penalty in PENALTIES:
        fitted.set_params(C=penalty).fit(standardised[0], labels)
        validation, test = (
            float(np.mean(fitted.predict(f) == y))
            for f, (_, y) in zip(standardised[1:], examples[1:], strict=True)
        )
        best = max(best, (validation, test, penalty), key=lambda candidate: candidate[0])
    _, accuracy, penalty = best
    stderr = math.sqrt(accuracy * (1 - accuracy) / len(examples.test[1]))
    return {
        "features": features.shape[1],
        "accuracy": accuracy,
        "stderr": stderr,
        "C": penalty,
    }


def sentences(record: dict[str, Any]) -> list[str]:
    """A heading, then one line for the values and one for each block."""
    rows = [("values", record["values"])]
    rows += [(f"block {row['block']}", row) for row in record["blocks"]]
    judged = f"{record['system']} on {record['dataset']} {record['split']}, {record['num_examples']} examples"
    return [
        f"{judged}: accuracy of a linear probe, {record['training_examples']} training examples",
        *(f"{name:<10} {percent(row)}" for name, row in rows),
    ]


def percent(row: dict[str, Any]) -> str:
    """An accuracy with its standard error."""
    return f"{100 * row['accuracy']:.2f} ± {100 * row['stderr']:.2f} %"


def _values(split: Split) -> Float[np.ndarray, "n D"]:
    """The values of each example; for tokens of a palette, their colours."""
    palette = colours_of(split.event, split.presentation)
    x = split.x[:]
    x = x if palette is None else palette[x[..., 0]]
    return x.reshape(len(x), -1).astype(np.float64)


def _others(run: Run, test: Split, data_dir: Path | None) -> tuple[Split, Split]:
    """Train and validation; if the only other split is the judged one, validation is the last part of train."""
    data = run.experiment.evaluate.data
    train = load_split(run.experiment, "train", data_dir, data)
    if test.split != "validation":
        try:
            return train, load_split(run.experiment, "validation", data_dir, data)
        except SplitError:
            pass
    cut = len(train) - len(train) // PART
    rest = replace(train, x=train.x[cut:], labels=_part(train, slice(cut, None)), split="a tenth of train")  # fmt: skip
    return _first(train, cut), rest


def _first(split: Split, count: int | None) -> Split:
    return replace(split, x=split.x[:count], labels=_part(split, slice(count)))


def _part(split: Split, rows: slice) -> np.ndarray:
    if split.labels is None:
        raise InputError(f"data set {split.dataset} has no classes to tell")
    return split.labels[rows]
