"""Reproduce a recorded result: train its config, evaluate its split, compare every resulting field.

The bits must be the same (nats, bits_per_dim and stderr equal as floats, from the checkpoint of the same step) if
everything that determines them is as recorded: `gen_jax/` by git, the package versions, kind and number of devices, the
processor and its threads. Otherwise they must agree within a tolerance (`comparison.TOLERANCE`), and the reasons are
printed. All other fields must always be equal.

A result that contradicts itself, its config or the data is reported as different before any training.
"""

import json
import math
import typing
from pathlib import Path
from typing import Any

from gen_jax import classes, fingerprint, sharding, sources
from gen_jax.errors import InputError, first_line
from gen_jax.experiment import Experiment, read
from gen_jax.reproduce import comparison
from gen_jax.runs import provenance, results
from gen_jax.runs.provenance import machine
from gen_jax.runs.run import load_run, variable_shapes
from gen_jax.runs.splits import judged_split
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import first_stage, initial
from gen_jax.train.loop import conditions, train

ORIGIN = "reproduces"  # field of config.json in folders that this module started


def reproduce(
    path: Path, folder: Path | None, data_dir: Path | None, command: str, trust: bool = False
) -> dict[str, Any]:
    """Compare what needs no training, then train and compare the rest; InputError if that is not possible.

    A killed run continues in its `folder`. By default each config, source, set of packages and machine has its own.
    """
    recorded = load(path)
    experiment = _experiment(path, recorded, trust)
    former = _lengthened(path, recorded, trust)
    if experiment.model.kind == "none":
        raise InputError(f"{path} is of {experiment.system}, which has no likelihood to reproduce")
    why = reasons(recorded)
    stages = (first_stage.load(experiment, trust), initial.load(experiment, trust))
    now = conditions(recorded["parallel"], stages[0], (), stages[1], recorded["fsdp"])
    split = judged_split(experiment, data_dir, recorded["split"])
    try:
        stated = results.stated(experiment, split, variable_shapes(experiment))
    except Exception as error:  # whatever a model of impossible sizes raises
        raise InputError(f"{path}: its model cannot be built: {first_line(error)}") from error
    rows = list(comparison.stated(recorded, experiment, stated))
    workdir = None
    if all(row.passed for row in rows):
        origin = {"command": command, ORIGIN: str(path)}
        workdir = WorkDir(folder or _folder(path, recorded, now), origin)
        _check_started_here(workdir, now)
        over = {name: recorded[name] for name in ("parallel", "fsdp")}
        options = {"data_dir": data_dir, "trust": trust, **over}
        done = len(workdir.lengthened) if workdir.config.exists() else 0
        for shorter, step in former[done:]:
            train(shorter, workdir, until=step, **options)
        train(experiment, workdir, **options)
        run = load_run(workdir.path, trust)
        result = results.record(run, split, run.likelihoods()(run.variables, split))
        rows += comparison.measured(recorded, result, same_bits=not why)
    return {
        "result": str(path),
        "reproduced": all(row.passed for row in rows),
        "same_bits": workdir is not None and all(row.recorded == row.found for row in rows),
        "workdir": str(workdir.path) if workdir else None,
        "rule": "tolerance" if why else "same bits",
        "because": why,
        "tolerance": comparison.TOLERANCE if why else None,
        "rows": [row._asdict() for row in rows],
    }


def text(record: dict[str, Any]) -> str:
    """The table, the rule with its reasons, and the verdict."""
    rule = "the same bits, since source, packages, machine and threads are as recorded"
    if record["because"]:
        shares = [f"{name} within {share:.0%}" for name, share in record["tolerance"].items()]
        rule = f"{', '.join(shares)}; not the same bits, because {'; '.join(record['because'])}"
    verdict = "reproduced" if record["reproduced"] else "DIFFERENT"
    verdict += " to the last bit" if record["same_bits"] else ""
    trained = "not trained, since training could not change that"
    if record["workdir"]:
        trained = f"trained in {record['workdir']}"
    table = comparison.text([comparison.Row(**row) for row in record["rows"]])
    return f"{table}\nrule: {rule}\n{record['result']}: {verdict}, {trained}"


def load(path: Path) -> dict[str, Any]:
    """A result file, completed by fields that older ones lack; InputError if it is not a result file."""

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number} is not finite")
        return value

    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        recorded = json.loads(path.read_bytes(), parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {first_line(error)}") from error
    recorded = {**results.BEFORE_RECORDED, **(recorded if isinstance(recorded, dict) else {})}
    missing = [name for name in results.FIELDS if name not in recorded]
    if missing:
        raise InputError(f"{path} is not a result file: it has no {', '.join(missing[:3])}")
    return recorded


def _experiment(path: Path, recorded: dict[str, Any], trust: bool) -> Experiment:
    if recorded["parallel"] not in typing.get_args(sharding.Parallel):
        raise InputError(f"{path}: parallel is {recorded['parallel']!r:.80}")
    if not (isinstance(recorded["fsdp"], int) and recorded["fsdp"] > 0):
        raise InputError(f"{path}: fsdp is {recorded['fsdp']!r:.80}")
    if not isinstance(recorded["split"], str):
        raise InputError(f"{path}: split is {recorded['split']!r:.80}")
    try:
        return read(recorded["config"], trust, sources.check(recorded["sources"]))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _lengthened(path: Path, recorded: dict[str, Any], trust: bool) -> list[tuple[Experiment, int]]:
    """The experiments with fewer steps that the run was before, each with the step up to which it was trained."""
    try:
        return [
            (
                _experiment(path, {**recorded, "config": former["experiment"]}, trust),
                int(former["step"]),
            )
            for former in recorded["lengthened"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its field lengthened is damaged: {first_line(error)}") from error


def reasons(recorded: dict[str, Any]) -> list[str]:
    """Why the same bits cannot be expected; empty if they can."""
    why = []
    changed = provenance.changed_since(recorded["git"])
    if changed:
        why.append(changed)
    elif recorded["dirty"] is not False:
        why.append("the recorded source had changes")
    included = {file.partition("/")[0].removesuffix(".py") for file in recorded["sources"]}
    why += [
        f"{name} is not part of gen_jax"
        for name in classes.foreign(recorded["config"])
        if name.partition(":")[0].partition(".")[0] not in included
    ]
    here, there = provenance.versions(), recorded["versions"]
    there = there if isinstance(there, dict) else {}
    pairs = [(name, here.get(name), there.get(name)) for name in {**here, **there}]
    pairs += [(name, value, recorded[name]) for name, value in machine().items()]
    return why + [f"{name} is {now}, not {was!s:.40}" for name, now, was in pairs if now != was]


def _folder(path: Path, recorded: dict[str, Any], now: dict[str, Any]) -> Path:
    """A folder named by what determines the bits: a killed run continues, a changed one starts in a new folder."""
    name = path.resolve().parent.name if path.name == "result.json" else path.stem
    tree = {"experiment": recorded["config"], "machine": now}
    if recorded["sources"]:
        tree["sources"] = recorded["sources"]
    digest = fingerprint.of_tree(tree)
    return Path("runs") / f"reproduce_{name}" / digest[:12]


def _check_started_here(workdir: WorkDir, now: dict[str, Any]) -> None:
    """InputError for a folder that was not started as a reproduction, or with another source or machine."""
    if not workdir.config.exists():
        return
    there = workdir.read()
    if ORIGIN not in there:
        raise InputError(
            f"{workdir.path} was not started by `gen-jax reproduce`; use a new --workdir"
        )
    started = {name: value for name, value in there.get("machine", {}).items() if name != "data"}
    if started != now:  # the train loop compares the data
        raise InputError(
            f"{workdir.path} was started with other source, packages or machine; use a new --workdir"
        )
