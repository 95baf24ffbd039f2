"""Commands that draw from a trained model: sample, complete."""

import argparse
from pathlib import Path

from gen_jax.commands.arguments import (
    Subparsers,
    check_out,
    command,
    max_bytes,
    positive,
    say,
    seed,
    temperature,
    trust,
    workdir,
)
from gen_jax.disk import write_atomically
from gen_jax.errors import InputError


def add(commands: Subparsers) -> None:
    """Add `sample` and `complete`."""
    sample = command(
        commands,
        "sample",
        "Draw samples from a trained model.",
        "gen-jax sample runs/gated_pixel_cnn_digits --num 64 --out grid.png",
        run=_sample,
    )
    workdir(sample)
    sample.add_argument(
        "--num", type=positive, help="number of samples (default: 64; 8 sounds, 1 text)"
    )
    sample.add_argument("--prompt", help="the beginning of a text")
    sample.add_argument(
        "--length", type=positive, metavar="L", help="length of a sequence after the prompt"
    )
    sample.add_argument(
        "--out",
        type=Path,
        help=".npz for arrays, .png for a grid of images, .wav for sound, .txt for text (default for text: print it)",
    )
    sample.add_argument(
        "--sampler",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the model's sampler, such as steps=50 or eta=0.0 for a diffusion",
    )
    _drawing(sample)

    complete = command(
        commands,
        "complete",
        "Keep part of each image and draw the rest from a trained model.",
        "gen-jax complete runs/gated_pixel_cnn_digits digit.png --keep top:0.5 --out grid.png",
        run=_complete,
    )
    workdir(complete)
    complete.add_argument(
        "images", type=Path, nargs="+", help="PNG files or .npz files with one array"
    )
    complete.add_argument(
        "--keep",
        required=True,
        metavar="REGION",
        help="the part to keep: top:0.5 (or bottom, left, right, centre), random:0.3:SEED, or a PNG, white there",
    )
    complete.add_argument(
        "--out", type=Path, required=True, help=".png for a grid, .npz for arrays"
    )
    max_bytes(complete)
    _drawing(complete)


def _drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", type=int, help="class, for class-conditional models")
    parser.add_argument(
        "--temperature",
        type=temperature,
        default=1.0,
        help="sharpens the distribution below 1, flattens it above (default: 1)",
    )
    seed(parser)
    trust(parser)


def _sample(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import draw
    from gen_jax.media import arrays, medium_of
    from gen_jax.runs.run import load_run

    runtime.set_up()
    run = load_run(args.workdir, args.trust).sampled_by(args.sampler)
    medium = medium_of(run.experiment.model.event, run.presentation)
    endings = (*medium.endings, arrays.ENDING)
    if args.out is not None:
        check_out(args.out, endings)
    elif not medium.printed:
        raise InputError(f"sample needs --out, a name that ends in {' or '.join(endings)}")
    prompt = medium.prompt(args.prompt) if args.prompt else ()
    num, length = args.num or medium.num, args.length or draw.usual_length(run, medium.length)
    x = draw.sample(run, num, args.seed, args.label, args.temperature, length, prompt)
    record = {"out": args.out and str(args.out), "num": len(x), "step": run.step}
    if args.out is None:
        text = medium.text(x)
        say(args, {**record, "text": text}, text)
        return
    numbers = args.out.suffix == arrays.ENDING
    encoded = arrays.encoded(medium.event, samples=x) if numbers else medium.encoded(x)
    write_atomically(args.out, encoded)
    say(args, record, f"{len(x)} samples in {args.out}")


def _complete(args: argparse.Namespace) -> None:
    import numpy as np

    from gen_jax import runtime
    from gen_jax.evaluate import draw, regions
    from gen_jax.media import arrays, pictures
    from gen_jax.media.images import Images
    from gen_jax.runs.run import load_run

    check_out(args.out)
    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    event = run.experiment.model.event
    medium = Images(event, run.presentation)
    x = pictures.read_images(args.images, event, args.max_bytes, medium.palette)
    keep = regions.read_mask(args.keep, event.shape, args.max_bytes)
    unlabelled = run.conditional and args.label is None
    labels = None if unlabelled else draw.labels_for(run, len(x), args.label)
    drawn = draw.complete(run, x, keep, args.seed, labels, args.temperature)
    if args.out.suffix == arrays.ENDING:
        encoded = arrays.encoded(event, completions=drawn)
    else:
        rows = np.stack([x, np.where(keep, x, 0), drawn], axis=1).reshape(-1, *event.shape)
        encoded = medium.sheet(rows, columns=3)
    write_atomically(args.out, encoded)
    say(
        args,
        {"out": str(args.out), "num": len(x), "kept_sites": int(keep.sum()), "step": run.step},
        f"{len(x)} completions in {args.out}: image, kept part, completion"
        + pictures.quantised(args.images, medium.palette),
    )
