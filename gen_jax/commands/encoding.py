"""Commands that encode examples and decode what they find: reconstruct, interpolate."""

import argparse
from pathlib import Path
from typing import Any

from gen_jax.commands.arguments import (
    Subparsers,
    command,
    data_dir,
    max_bytes,
    name_of,
    positive,
    say,
    seed,
    trust,
    workdir,
)
from gen_jax.errors import InputError

EXAMPLES, PAIRS, STEPS = 32, 8, 10


def add(commands: Subparsers) -> None:
    """Add `reconstruct` and `interpolate`."""
    reconstruct = command(
        commands,
        "reconstruct",
        "Encode examples and reconstruct them from their codes.",
        "gen-jax reconstruct runs/vae_digits --out reconstructions.png",
        run=_reconstruct,
    )
    _encoding(reconstruct)
    reconstruct.add_argument(
        "--num",
        type=positive,
        metavar="N",
        help=f"number of examples of the split (default: {EXAMPLES}; 8 sounds)",
    )
    _drawing(reconstruct)

    interpolate = command(
        commands,
        "interpolate",
        "Go from one example to another on a path through a model's latents.",
        "gen-jax interpolate runs/vae_digits --out paths.png",
        run=_interpolate,
    )
    _encoding(interpolate)
    interpolate.add_argument(
        "--num",
        type=positive,
        metavar="N",
        help=f"number of pairs of examples of the split (default: {PAIRS})",
    )
    interpolate.add_argument(
        "--steps",
        type=positive,
        default=STEPS,
        metavar="N",
        help=f"examples on a path, with both ends, which are reconstructions (default: {STEPS})",
    )
    _drawing(interpolate)


def _encoding(parser: argparse.ArgumentParser) -> None:
    workdir(parser)
    parser.add_argument(
        "images",
        type=Path,
        nargs="*",
        help="instead of examples of a split: PNG files, folders of them, .npz files with one array, or - for one on"
        " standard input",
    )
    parser.add_argument(
        "--split", help="split of the examples (default: test, or validation without a test split)"
    )


def _drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        help=".npz for arrays; .png for a grid of images, .wav for sound, with the originals beside; FOLDER/ for a file"
        " each; - for standard output (default: a name with the model's, here)",
    )
    parser.add_argument("--label", type=int, help="class of your files, for models with classes")
    seed(parser)
    max_bytes(parser)
    trust(parser)
    data_dir(parser)


def _reconstruct(args: argparse.Namespace) -> None:
    import numpy as np

    from gen_jax.evaluate import draw

    run, medium, out = _opened(args, "reconstructions")
    draw.check_reconstructing(run)
    x, cond, source = _examples(args, run, medium, args.num or min(EXAMPLES, medium.num))
    drawn = draw.reconstruct(run, x, args.seed, cond)
    arrays = {"originals": x, "reconstructions": drawn}
    out.write(arrays, drawn, lambda: medium.rows(np.stack([x, drawn], axis=1)))
    say(
        args,
        {"out": args.out, "num": len(x), "step": run.step},
        f"{len(x)} reconstructions of {source} in {out.shown}",
    )


def _interpolate(args: argparse.Namespace) -> None:
    import numpy as np

    from gen_jax.conditions import rows_of
    from gen_jax.evaluate import latents

    if args.steps < 2:
        raise InputError("--steps: a path has two ends, so at least 2 examples")
    run, medium, out = _opened(args, "paths")
    latents.check_paths(run)
    x, cond, source = _examples(args, run, medium, 2 * (args.num or PAIRS))
    if len(x) % 2:
        raise InputError(
            f"interpolate takes pairs of examples, an even number of them, not {len(x)}"
        )
    ends = [(x[i::2], rows_of(cond, slice(i, None, 2))) for i in range(2)]
    (first, first_cond), (second, second_cond) = ends
    drawn = latents.interpolate(run, first, second, args.steps, args.seed, first_cond, second_cond)
    arrays = {"originals": np.stack([first, second], axis=1), "paths": drawn}
    rows = np.concatenate([first[:, None], drawn, second[:, None]], axis=1)
    out.write(arrays, drawn.reshape(-1, *drawn.shape[2:]), lambda: medium.rows(rows))
    say(
        args,
        {"out": args.out, "num": len(drawn), "steps": args.steps, "step": run.step},
        f"{len(drawn)} paths of {args.steps} between examples of {source} in {out.shown}",
    )


def _opened(args: argparse.Namespace, made: str) -> tuple[Any, Any, Any]:
    """The run, its medium and the place of --out, by default a file named after the model and what is `made`."""
    from gen_jax import runtime
    from gen_jax.commands.writing import target
    from gen_jax.media import medium_of
    from gen_jax.runs.run import load_run

    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    medium = medium_of(run.experiment.model.event, run.presentation)
    return run, medium, target(args, medium, f"{name_of(args.workdir)}_{made}")


def _examples(args: argparse.Namespace, run: Any, medium: Any, count: int) -> tuple[Any, Any, str]:
    """The examples, their classes if the model has any, and a name for them."""
    from gen_jax.commands import reading
    from gen_jax.data.batches import spread, take
    from gen_jax.evaluate import draw
    from gen_jax.media import pictures
    from gen_jax.media.images import Images
    from gen_jax.runs.splits import check_trained_on, judged_split

    draw.labels_for(run, 0, args.label)
    if not args.images:
        if args.label is not None:
            raise InputError("--label is the class of your files: examples of a split have theirs")
        split = judged_split(run.experiment, args.data_dir, args.split)
        check_trained_on(run, split, args.data_dir)
        batch = take(split, spread(len(split), count), run.conditional)
        return batch["x"], batch["cond"], f"{split.dataset} {split.split}"
    if args.split or args.num:
        raise InputError("--split and --num choose examples of the data set: leave your files out")
    if run.conditional and args.label is None:
        raise InputError(
            "the model is class-conditional: give the class of the images with --label K"
        )
    palette = medium.palette if isinstance(medium, Images) else None
    with reading.files(args.images) as files:
        x = pictures.read_examples(files, medium.event, args.max_bytes, palette)
    source = f"{len(files)} file{'s' * (len(files) > 1)}"
    return x, draw.labels_for(run, len(x), args.label), source
