"""Draw from a trained model."""

import argparse
from pathlib import Path
from typing import Any

from gen_jax.commands.arguments import (
    Subparsers,
    check_out,
    command,
    natural,
    positive,
    say,
    temperature,
)
from gen_jax.errors import InputError


def add(commands: Subparsers) -> None:
    """Commands that draw."""
    sample = command(
        commands,
        "sample",
        "Draw new examples.",
        "gen-jax sample runs/gated_pixel_cnn_digits --num 64 --out grid.png",
        run=_sample,
    )
    sample.add_argument("workdir", type=Path)
    sample.add_argument("--num", type=positive, default=64)
    _drawing(sample)

    complete = command(
        commands,
        "complete",
        "Keep a part of given images and draw the rest.",
        "gen-jax complete runs/gated_pixel_cnn_digits digit.png --keep top:0.5 --out grid.png",
        run=_complete,
    )
    complete.add_argument("workdir", type=Path)
    complete.add_argument(
        "images", type=Path, nargs="+", help="PNG files or .npz files with one array"
    )
    complete.add_argument(
        "--keep", required=True, metavar="SIDE:FRACTION", help="what stays, such as top:0.5"
    )
    _drawing(complete)


def _drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, help=".png for a grid, .npz for the integers"
    )
    parser.add_argument("--label", type=int, help="class; only for class-conditional models")
    parser.add_argument(
        "--temperature", type=temperature, default=1.0, help="below 1: closer to the mode"
    )
    parser.add_argument("--seed", type=natural, default=0)


def _sample(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import draw
    from gen_jax.evaluate.run import load_run

    check_out(args.out)
    runtime.set_up()
    run = load_run(args.workdir)
    x = draw.sample(run, args.num, args.seed, args.label, args.temperature)
    _save(args.out, run, x, "samples", columns=max(1, round(len(x) ** 0.5)))
    say(
        args,
        {"out": str(args.out), "num": len(x), "step": run.step},
        f"{len(x)} samples in {args.out}",
    )


def _complete(args: argparse.Namespace) -> None:
    import numpy as np

    from gen_jax import runtime
    from gen_jax.evaluate import draw, pictures
    from gen_jax.evaluate.run import load_run

    check_out(args.out)
    runtime.set_up()
    run = load_run(args.workdir)
    event = run.experiment.model.event
    x = pictures.read_images(args.images, event)
    keep = draw.kept_region(args.keep, event.shape)
    unlabelled = run.conditional and args.label is None
    labels = None if unlabelled else draw.labels_for(run, len(x), args.label)
    drawn = draw.complete(run, x, keep, args.seed, labels, args.temperature)
    if args.out.suffix == ".npz":
        _save(args.out, run, drawn, "completions", columns=1)
    else:
        rows = np.stack([x, np.where(keep, x, 0), drawn], axis=1).reshape(-1, *event.shape)
        _save(args.out, run, rows, "completions", columns=3)
    say(
        args,
        {"out": str(args.out), "num": len(x), "kept_sites": int(keep.sum()), "step": run.step},
        f"{len(x)} completions in {args.out}: image, kept part, completion",
    )


def _save(path: Path, run: Any, x: Any, name: str, columns: int) -> None:
    import numpy as np

    from gen_jax.evaluate import pictures

    event = run.experiment.model.event
    if path.suffix == ".npz":
        dtype = x.dtype if event.levels is None else np.min_scalar_type(event.levels - 1)
        np.savez_compressed(path, **{name: x.astype(dtype)})
    elif len(event.shape) == 3 and event.levels is not None:
        pictures.save_grid(path, x, event.levels, columns)
    else:
        raise InputError(
            f"examples of shape {event.shape} are no images; give --out a name that ends in .npz"
        )
