"""The splits on which a run is trained, validated and evaluated, and a check that they have not changed."""

import dataclasses
from pathlib import Path
from typing import Any

from gen_jax.data import prepared
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment
from gen_jax.runs.run import Run
from gen_jax.runs.workdir import changed


def load_split(
    experiment: Experiment,
    name: str,
    data_dir: Path | None,
    data: prepared.Data | None = None,
    memory: float = prepared.MEMORY,
) -> prepared.Split:
    """A split of the experiment's data, or of `data`; InputError if sizes, levels or classes are not the model's.

    Examples of more than `memory` bytes stay on disk.
    """
    dataset, model = (data or experiment.data).name, experiment.model
    split = prepared.load(dataset, name, data_dir, memory)
    if split.event != model.event:
        raise InputError(
            f"the model is for {model.event.shape} with {model.event.levels} levels, data set {split.dataset} has"
            f" {split.event.shape} with {split.event.levels} levels"
        )
    if model.num_classes and model.num_classes != split.num_classes:
        raise InputError(
            f"the model has {model.num_classes} classes, data set {split.dataset} has {split.num_classes}"
        )
    return split


def on_data(experiment: Experiment, name: str, data_dir: Path | None) -> Experiment:
    """The experiment on another data set, whose examples and classes the model takes over, but nothing else.

    InputError if the model has no event of its own.
    """
    split, model = prepared.load(name, "validation", data_dir), experiment.model
    fields = {field.name for field in dataclasses.fields(model)}
    if "event" not in fields:
        raise InputError(
            f"{experiment.system} has no event of its own: set the fields of its parts with --set"
        )
    changes: dict[str, Any] = {"event": split.event}
    if model.num_classes and split.num_classes:
        changes["num_classes"] = split.num_classes
    evaluate = dataclasses.replace(experiment.evaluate, data=None)
    return dataclasses.replace(
        experiment,
        model=dataclasses.replace(model, **changes),
        data=prepared.Data(name),
        evaluate=evaluate,
    )


def judged_split(
    experiment: Experiment,
    data_dir: Path | None,
    name: str | None = None,
    memory: float = prepared.MEMORY,
) -> prepared.Split:
    """The split of the reported number: of `evaluate.data` the test split, or validation if it has no test split."""
    data = experiment.evaluate.data
    if name:
        return load_split(experiment, name, data_dir, data, memory)
    try:
        return load_split(experiment, "test", data_dir, data, memory)
    except prepared.SplitError:
        return load_split(experiment, "validation", data_dir, data, memory)


def check_trained_on(
    run: Run, split: prepared.Split, data_dir: Path | None, named: bool = False
) -> None:
    """InputError if the split has other class names than the model, or the run's data set was replaced.

    A data set that is `named` for the evaluation may differ. Older runs, which did not record theirs, are not checked.
    """
    there = run.workdir.read().get("machine", {}).get("data")
    if not isinstance(there, dict):
        return
    ours, theirs = list(there.get("class_names") or []), list(split.class_names)
    if run.conditional and ours and theirs and ours != theirs:
        raise InputError(
            f"the model's classes are {', '.join(ours)}, those of {split.dataset} are {', '.join(theirs)}:"
            " class k means different things"
        )
    checksums = there.get("checksums") or {}
    if named or split.dataset != run.experiment.data.name or not checksums:
        return
    known = split if split.split in checksums else None
    known = known or prepared.load(split.dataset, next(reversed(checksums)), data_dir)
    if known.checksum != checksums.get(known.split):
        asked = {"checksums": {known.split: known.checksum}, "class_names": theirs}
        raise InputError(
            f"data set {split.dataset} is not the one that {run.workdir.path} was trained on: {changed(there, asked)};"
            f" --data {split.dataset} evaluates on the present one"
        )
