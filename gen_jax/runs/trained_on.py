"""The data that a run was trained on, as its config.json tells, beside those it is to be judged on."""

from pathlib import Path

from gen_jax.data import prepared
from gen_jax.errors import InputError
from gen_jax.runs.run import Run
from gen_jax.runs.workdir import changed


def check(run: Run, split: prepared.Split, data_dir: Path | None, named: bool = False) -> None:
    """InputError where the split's classes have other names than the model's, or the run's own set was replaced.

    A set that is `named` for the evaluation may be another. Runs from before this was recorded are not compared.
    """
    there = run.workdir.read().get("machine", {}).get("data")
    if not isinstance(there, dict):
        return
    ours, theirs = list(there.get("class_names") or []), list(split.class_names)
    if run.conditional and ours and theirs and ours != theirs:
        raise InputError(
            f"the model's classes are {', '.join(ours)}, those of {split.dataset} {', '.join(theirs)}: class k is"
            " not class k of both"
        )
    checksums = there.get("checksums") or {}
    if named or split.dataset != run.experiment.data.name or not checksums:
        return
    known = split if split.split in checksums else None
    known = known or prepared.load(split.dataset, next(reversed(checksums)), data_dir)
    if known.checksum != checksums.get(known.split):
        asked = {"checksums": {known.split: known.checksum}, "class_names": theirs}
        raise InputError(
            f"data set {split.dataset} is another than {run.workdir.path} was trained on: {changed(there, asked)} now;"
            f" --data {split.dataset} judges on what is there"
        )
