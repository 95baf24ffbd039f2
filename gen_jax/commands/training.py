"""Train."""

import argparse
from pathlib import Path

from gen_jax.commands.arguments import Subparsers, command, data_dir, say


def add(commands: Subparsers) -> None:
    """The command that trains."""
    train = command(
        commands,
        "train",
        "Train a config, or continue the work directory that holds it.",
        "gen-jax train experiments/configs/gated_pixel_cnn_digits.py --set model.depth=4 --workdir runs/deep4",
        run=_train,
    )
    train.add_argument("config", type=Path, help="Python file that defines experiment()")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="replace a field of the config",
    )
    train.add_argument(
        "--workdir", type=Path, help="where to keep the run (runs/NAME of the config)"
    )
    train.add_argument(
        "--parallel",
        choices=("jit", "pmap"),
        default="jit",
        help="over devices: one program split by the compiler, or the same step mapped",
    )
    data_dir(train)


def _train(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.experiment import load_config
    from gen_jax.train.loop import train
    from gen_jax.train.workdir import WorkDir

    runtime.set_up()
    experiment = load_config(args.config, args.set)
    origin = {"config": str(args.config), "overrides": args.set, "command": args.typed}
    workdir = WorkDir(args.workdir or Path("runs") / args.config.stem, origin)
    train(experiment, workdir, args.data_dir, args.parallel)
    rows = [row for row in workdir.metrics_rows() if row["split"] == "validation"]
    best = min(rows, key=lambda row: row["bits_per_dim"]) if rows else None
    record = {"workdir": str(workdir.path), "steps": experiment.steps, "best_validation": best}
    say(args, record, f"trained {experiment.steps} steps in {workdir.path}")
