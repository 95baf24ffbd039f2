"""Commands that train: train a config, reproduce a recorded result."""

import argparse
from pathlib import Path

from gen_jax.commands.arguments import Subparsers, command, data_dir, say, trust


def add(commands: Subparsers) -> None:
    """Add `train` and `reproduce`."""
    train = command(
        commands,
        "train",
        "Train a config, or continue its work directory.",
        "gen-jax train experiments/configs/gated_pixel_cnn_digits.py --set model.depth=4 --workdir runs/deep4",
        run=_train,
    )
    train.add_argument(
        "config",
        type=Path,
        help="Python file that defines experiment(), or FILE.py:NAME if it defines experiments()",
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the config, such as model.depth=4",
    )
    train.add_argument(
        "--workdir", type=Path, help="folder of the run (default: runs/ and the config's name)"
    )
    train.add_argument(
        "--parallel",
        choices=("jit", "pmap"),
        default="jit",
        help="over several devices: one program split by the compiler (jit), or the step mapped (pmap)",
    )
    trust(train)
    data_dir(train)

    reproduce = command(
        commands,
        "reproduce",
        "Train and evaluate a recorded result again and compare; status 1 if a field differs.",
        "gen-jax reproduce experiments/results/gated_pixel_cnn_digits.json",
        run=_reproduce,
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
    from gen_jax.experiment import config_name, load_config
    from gen_jax.runs.logging import LOG
    from gen_jax.runs.run import diverged
    from gen_jax.runs.workdir import WorkDir
    from gen_jax.train.loop import train

    runtime.set_up()
    experiment = load_config(args.config, args.set)
    origin = {"config": str(args.config), "overrides": args.set, "command": args.typed}
    file, name = config_name(args.config)
    workdir = WorkDir(args.workdir or Path("runs") / (name or file.stem), origin)
    train(experiment, workdir, args.data_dir, args.parallel, args.trust)
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
        "steps": experiment.steps,
        "best_validation": best,
        "findings": [finding] if finding else [],
    }
    line = f"trained {experiment.steps} steps in {workdir.path}"
    say(args, record, f"{line}; at the end {finding}" if finding else line)


def _reproduce(args: argparse.Namespace) -> int:
    from gen_jax import runtime
    from gen_jax.reproduce import reproduce

    runtime.set_up()
    record = reproduce.reproduce(args.result, args.workdir, args.data_dir, args.typed, args.trust)
    say(args, record, reproduce.text(record))
    return 0 if record["reproduced"] else 1
