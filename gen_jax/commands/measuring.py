"""Costs, and what there is."""

import argparse
from typing import Any

from gen_jax.commands.arguments import Run, Subparsers, command, group, positive, say


def add(commands: Subparsers) -> None:
    """`bench` and its subjects, and `list`."""
    subjects = group(
        commands, "bench", "Measure cost as ratios within one run.", "gen-jax bench sampling --json"
    )
    sampling = _subject(subjects, "sampling", "Cost of a sample in forward passes.", _sampling, 64)
    sampling.add_argument(
        "--no-naive",
        action="store_true",
        help="leave out the loop of full passes (minutes on a CPU)",
    )
    _subject(subjects, "codec", "Cost of the lossless codec beside sampling.", _codec, 32)
    _subject(subjects, "training", "Cost of a train step in forward passes.", _training, 16)
    _subject(subjects, "scaling", "Time and memory against side, depth and batch.", _scaling)
    _subject(subjects, "attention", "Memory and time of attention against length.", _attention)

    command(
        commands,
        "list",
        "Systems, configs, published and measured numbers.",
        "gen-jax list",
        run=_list,
    )


def _subject(
    subjects: Subparsers, name: str, summary: str, run: Run, batch: int | None = None
) -> argparse.ArgumentParser:
    subject = command(subjects, name, summary, f"gen-jax bench {name} --json", run=run)
    if batch is not None:
        subject.add_argument("--batch", type=positive, default=batch, help=f"images ({batch})")
    return subject


def _sampling(args: argparse.Namespace) -> None:
    from gen_jax.bench import sampling

    _measure(args, sampling, args.batch, naive=not args.no_naive)


def _codec(args: argparse.Namespace) -> None:
    from gen_jax.bench import codec

    _measure(args, codec, args.batch)


def _training(args: argparse.Namespace) -> None:
    from gen_jax.bench import training

    _measure(args, training, args.batch)


def _scaling(args: argparse.Namespace) -> None:
    from gen_jax.bench import scaling

    _measure(args, scaling)


def _attention(args: argparse.Namespace) -> None:
    from gen_jax.bench import attention

    _measure(args, attention)


def _measure(args: argparse.Namespace, subject: Any, *settings: int, **options: bool) -> None:
    from gen_jax import runtime
    from gen_jax.bench import record

    runtime.set_up()
    found = subject.measure(*settings, **options)
    say(args, found, record.page(found, record.table(subject.COLUMNS, found["rows"])))


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
