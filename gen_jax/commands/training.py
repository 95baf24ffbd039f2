"""Commands that train: train a config, reproduce a recorded result."""

import argparse
from pathlib import Path
from typing import Any

from gen_jax import processes
from gen_jax.commands.arguments import (
    Subparsers,
    command,
    data_dir,
    fsdp,
    joined,
    joining,
    memory_limit,
    say,
    trust,
)
from gen_jax.errors import InputError

CONFIG = "config.json"


def add(commands: Subparsers) -> None:
    """Add `train` and `reproduce`."""
    train = command(
        commands,
        "train",
        "Train a config, or continue a work directory.",
        "gen-jax train gated_pixel_cnn_digits --set model.depth=4 --workdir runs/deep4",
        run=_train,
        bars=False,
    )
    train.add_argument(
        "config",
        type=Path,
        help="name of a config of `gen-jax list`; or a file CONFIG.py, which defines experiment(), or CONFIG.py:NAME if"
        " it defines experiments(); or a work directory, or its config.json, to continue",
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the config, such as model.depth=4",
    )
    train.add_argument(
        "--data",
        metavar="NAME",
        help="train on this data set instead of the config's, with the shape, levels and classes of its examples",
    )
    train.add_argument(
        "--workdir",
        type=Path,
        help="folder of the run (default: the one that is continued, or runs/ and the config's name, with the name of"
        " --data, and _seed1 if seed=1 is set)",
    )
    train.add_argument(
        "--parallel",
        choices=("jit", "pmap"),
        default="jit",
        help="over several devices: one program split by the compiler (jit), or the step mapped (pmap)",
    )
    train.add_argument(
        "--mirror",
        metavar="URL",
        help="keep a copy of the run there, such as s3://BUCKET/NAME or gs://BUCKET/NAME, and restore it from there if"
        " the folder is lost",
    )
    fsdp(train)
    trust(train)
    data_dir(train)
    memory_limit(train)
    joining(train)

    reproduce = command(
        commands,
        "reproduce",
        "Train and evaluate a recorded result again and compare; status 1 if a field differs.",
        "gen-jax reproduce experiments/results/gated_pixel_cnn_digits.json",
        run=_reproduce,
        bars=False,
    )
    reproduce.add_argument("result", type=Path, help="a result file")
    reproduce.add_argument(
        "--workdir", type=Path, help="folder of the run (default: a new one in runs/)"
    )
    trust(reproduce)
    data_dir(reproduce)


def _train(args: argparse.Namespace) -> None:
    from gen_jax import classes, runtime
    from gen_jax.config_tree import to_tree
    from gen_jax.experiment import overridden
    from gen_jax.runs.logging import LOG
    from gen_jax.runs.mirror import check_folder
    from gen_jax.runs.run import diverged
    from gen_jax.runs.splits import on_data
    from gen_jax.runs.workdir import WorkDir
    from gen_jax.train.loop import train

    if args.workdir is not None:
        check_folder(args.workdir)
    runtime.set_up(joined(args))
    with processes.agreed():
        base, folder = _experiment(args)
        if args.data:
            base = on_data(base, args.data, args.data_dir)
            folder = folder.with_name(f"{folder.name}_{args.data}")
        experiment = overridden(base, args.set)
    if experiment.seed != base.seed:
        folder = folder.with_name(f"{folder.name}_seed{experiment.seed}")
    origin = {"config": str(args.config), "overrides": args.set, "command": args.typed}
    workdir = WorkDir(args.workdir or folder, origin)
    over = {"memory": args.memory, "fsdp": args.fsdp}
    options = {"trust": args.trust, "mirror": args.mirror, **over}
    state = train(experiment, workdir, args.data_dir, args.parallel, **options)
    foreign = classes.foreign(to_tree(experiment))
    if foreign:
        LOG.info(
            "%s: not a class of gen_jax, so commands that read %s need --trust",
            ", ".join(foreign), workdir.path,
        )  # fmt: skip
    rows = [row for row in workdir.metrics_rows() if row["split"] == "validation"]
    rows = [row for row in rows if "nats" in row]
    best = min(rows, key=lambda row: row["nats"]) if rows else None
    finding = diverged(workdir, experiment)
    record = {
        "workdir": str(workdir.path),
        "steps": int(state.step),
        "best_validation": best,
        "findings": [finding] if finding else [],
    }
    line = f"trained {int(state.step)} steps in {workdir.path}"
    say(args, record, f"{line}; at the end {finding}" if finding else line)


def _experiment(args: argparse.Namespace) -> tuple[Any, Path]:
    """The experiment before --set, and the folder of its run if neither --workdir nor --set names another."""
    from gen_jax.experiment import config_name, load_config
    from gen_jax.runs.workdir import WorkDir

    path: Path = args.config
    if path.name == CONFIG:
        if not path.is_file():
            raise InputError(f"config not found: {path}")
        path = path.parent
    if (path / CONFIG).exists() or (path.is_dir() and len(path.parts) > 1):
        return WorkDir(path).experiment(args.trust), path if path.name else path.resolve()
    file, name = config_name(path)
    return load_config(path), Path("runs") / (name or file.stem)


def _reproduce(args: argparse.Namespace) -> int:
    from gen_jax import runtime
    from gen_jax.reproduce import reproduce

    runtime.set_up()
    record = reproduce.reproduce(args.result, args.workdir, args.data_dir, args.typed, args.trust)
    say(args, record, reproduce.text(record))
    return 0 if record["reproduced"] else 1
