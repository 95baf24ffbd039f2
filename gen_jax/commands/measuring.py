"""Commands that measure costs (`bench`), list systems and configs (`list`), and list your runs (`runs`)."""

import argparse
from pathlib import Path
from typing import Any

from gen_jax.commands.arguments import Run, Subparsers, command, fsdp, group, positive, say


def add(commands: Subparsers) -> None:
    """Add `bench` with its subjects, `list` and `runs`."""
    subjects = group(
        commands,
        "bench",
        "Measure costs as ratios within one run.",
        "gen-jax bench sampling --json",
    )
    sampling = _subject(
        subjects, "sampling", "Measure the cost of a sample in forward passes.", _sampling, 64
    )
    sampling.add_argument(
        "--no-naive",
        action="store_true",
        help="skip the naive loop of full passes, which takes minutes on a CPU",
    )
    _subject(subjects, "codec", "Measure the cost of the codec against sampling.", _codec, 32)
    _subject(
        subjects, "training", "Measure the cost of a train step in forward passes.", _training, 16
    )
    _subject(subjects, "growth", "Measure time and memory by side, depth and batch.", _growth)
    _scaling_of(subjects)
    _subject(subjects, "attention", "Measure the memory of attention by length.", _attention)

    command(
        commands,
        "list",
        "List systems, trained models, and configs with published and measured numbers.",
        "gen-jax list",
        run=_list,
    )

    runs = command(
        commands,
        "runs",
        "List all work directories below a folder with their steps, validation and results.",
        "gen-jax runs runs/",
        run=_runs,
    )
    runs.add_argument(
        "folder", type=Path, nargs="?", default=Path("runs"), help="the folder (default: runs)"
    )


def _subject(
    subjects: Subparsers, name: str, summary: str, run: Run, batch: int | None = None
) -> argparse.ArgumentParser:
    subject = command(subjects, name, summary, f"gen-jax bench {name} --json", run=run)
    if batch is not None:
        subject.add_argument(
            "--batch", type=positive, default=batch, help=f"number of images (default: {batch})"
        )
    return subject


def _scaling_of(subjects: Subparsers) -> None:
    scaling = command(
        subjects,
        "scaling",
        "Compile a config's train step for several devices: memory, collectives, predicted efficiency.",
        "gen-jax bench scaling pixel_cnn_pp_cifar10_small --devices 1,2,4,8 --fsdp 8",
        run=_scaling,
    )
    scaling.add_argument(
        "config",
        type=Path,
        help="name of a config of `gen-jax list`, or a file CONFIG.py or CONFIG.py:NAME",
    )
    scaling.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the config, such as batch_size=1024",
    )
    where = scaling.add_mutually_exclusive_group()
    where.add_argument(
        "--devices",
        type=counts,
        default=[1, 2, 4, 8],
        metavar="N,N,...",
        help="numbers of simulated CPU devices (default: 1,2,4,8)",
    )
    where.add_argument(
        "--topology",
        metavar="NAME",
        help="compile for the chips of this TPU instead, such as v5e:2x4; needs libtpu but no TPU",
    )
    scaling.add_argument(
        "--chip",
        help="predict for this chip (default: h100, or that of --topology)",
    )
    fsdp(scaling)


def counts(text: str) -> list[int]:
    """Positive integers, separated by commas."""
    return [positive(part) for part in text.split(",")]


def _sampling(args: argparse.Namespace) -> None:
    from gen_jax.bench import sampling

    _measure(args, sampling, args.batch, naive=not args.no_naive)


def _codec(args: argparse.Namespace) -> None:
    from gen_jax.bench import codec

    _measure(args, codec, args.batch)


def _training(args: argparse.Namespace) -> None:
    from gen_jax.bench import training

    _measure(args, training, args.batch)


def _growth(args: argparse.Namespace) -> None:
    from gen_jax.bench import growth

    _measure(args, growth)


def _scaling(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.bench import chips, record, scaling
    from gen_jax.experiment import load_config

    chip = args.chip or (args.topology.partition(":")[0] if args.topology else "h100")
    chips.named(chip)
    runtime.simulate(1 if args.topology else max(args.devices))
    runtime.set_up()
    experiment, name = load_config(args.config, args.set), " ".join([args.config.stem, *args.set])
    places = [scaling.chips_of(args.topology)] if args.topology else scaling.simulated(args.devices)
    measured = scaling.measure({name: experiment}, places, chip, args.fsdp)
    say(args, measured, record.page(measured, record.table(scaling.COLUMNS, measured["rows"])))


def _attention(args: argparse.Namespace) -> None:
    from gen_jax.bench import attention

    _measure(args, attention)


def _measure(args: argparse.Namespace, subject: Any, *settings: int, **options: bool) -> None:
    from gen_jax import runtime
    from gen_jax.bench import record

    runtime.set_up()
    measured = subject.measure(*settings, **options)
    say(args, measured, record.page(measured, record.table(subject.COLUMNS, measured["rows"])))


def _list(args: argparse.Namespace) -> None:
    from gen_jax.evaluate import catalogue

    record = {
        "systems": catalogue.systems(),
        "trained": catalogue.trained(),
        "configs": catalogue.configs(),
    }
    lines = ["systems"]
    lines += [f"  {row['system']:<18} {row['is']}" for row in record["systems"]]
    lines += ["trained models, in place of a folder, as in `gen-jax sample NAME`"]
    for row in record["trained"]:
        certified = ", certified" if row["certified"] else ""
        lines += [f"  {row['name']}", f"      {row['measured']}{certified}, {row['bytes']:,} bytes"]
    lines += ["configs, for `gen-jax train NAME`"]
    for row in record["configs"]:
        lines += [
            f"  {row['name']}",
            f"      {row['is']}",
            f"      published: {row['published'] or 'none'}",
            f"      measured:  {row['measured'] or 'not yet'}",
        ]
        lines += [f"      zoo:       {row['zoo']}"] * (row["zoo"] not in (None, row["measured"]))
    say(args, record, "\n".join(lines))


def _runs(args: argparse.Namespace) -> None:
    from gen_jax.runs import listing

    rows = listing.rows(args.folder)
    text = listing.text(rows) if rows else f"no work directories below {args.folder}"
    say(args, {"folder": str(args.folder), "runs": rows}, text)
