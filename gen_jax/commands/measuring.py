"""Costs, and what there is."""

import argparse

from gen_jax.commands.arguments import Subparsers, command, group, positive, say


def add(commands: Subparsers) -> None:
    """`bench` and its subjects, and `list`."""
    subjects = group(
        commands, "bench", "Measure cost as ratios within one run.", "gen-jax bench sampling --json"
    )
    cost = command(
        subjects,
        "sampling",
        "Cost of a sample in forward passes.",
        "gen-jax bench sampling --json",
        run=_sampling,
    )
    cost.add_argument("--batch", type=positive, default=64)
    cost.add_argument(
        "--no-naive",
        action="store_true",
        help="leave out the loop of full passes (minutes on a CPU)",
    )

    command(
        commands,
        "list",
        "Systems, configs, published and measured numbers.",
        "gen-jax list",
        run=_list,
    )


def _sampling(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import bench

    runtime.set_up()
    found = bench.sampling_costs(args.batch, naive=not args.no_naive)
    say(args, found, bench.table(found))


def _list(args: argparse.Namespace) -> None:
    from gen_jax.evaluate import catalogue

    found = {"systems": catalogue.systems(), "configs": catalogue.configs()}
    lines = ["systems"]
    lines += [f"  {row['system']:<18} {row['is']}" for row in found["systems"]]
    lines += ["configs"]
    for row in found["configs"]:
        lines += [
            f"  {row['config']}",
            f"      {row['is']}",
            f"      published: {row['published'] or 'none'}",
            f"      measured:  {row['measured'] or 'not yet'}",
        ]
    say(args, found, "\n".join(lines))
