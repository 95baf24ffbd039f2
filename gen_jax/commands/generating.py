"""Commands that draw from a trained model: sample, complete."""

import argparse
from pathlib import Path

from gen_jax import processes
from gen_jax.commands.arguments import (
    Subparsers,
    command,
    fsdp,
    joined,
    joining,
    max_bytes,
    name_of,
    positive,
    say,
    seed,
    temperature,
    trust,
    workdir,
)


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
        help=".png for a grid of images, .wav for sound, .txt for text, .npz for arrays, FOLDER/ for a file each, - for"
        " standard output (default: NAME_samples.png here, or as fits; text is printed)",
    )
    sample.add_argument(
        "--sampler",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the model's sampler, such as steps=50 or eta=0.0 for a diffusion",
    )
    fsdp(sample)
    _drawing(sample)
    joining(sample)

    complete = command(
        commands,
        "complete",
        "Keep part of each image and draw the rest from a trained model.",
        "gen-jax complete runs/gated_pixel_cnn_digits digit.png --keep top:0.5 --out grid.png",
        run=_complete,
    )
    workdir(complete)
    complete.add_argument(
        "images",
        type=Path,
        nargs="+",
        help="PNG files, folders of them, .npz files with one array, or - for one on standard input",
    )
    complete.add_argument(
        "--keep",
        required=True,
        metavar="REGION",
        help="the part to keep: top:0.5 (or bottom, left, right, centre), random:0.3:SEED, or a PNG, white there",
    )
    complete.add_argument(
        "--out",
        help=".png for a grid, .npz for arrays, FOLDER/ for a PNG each, - for standard output (default:"
        " NAME_completions.png here)",
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
    from gen_jax.commands.writing import target
    from gen_jax.evaluate import draw
    from gen_jax.media import medium_of
    from gen_jax.runs.run import load_run

    runtime.set_up(joined(args))
    with processes.agreed():
        run = load_run(args.workdir, args.trust, args.fsdp).sampled_by(args.sampler)
        medium = medium_of(run.experiment.model.event, run.presentation)
        printed = args.out is None and medium.printed
        out = None if printed else target(args, medium, f"{name_of(args.workdir)}_samples")
    prompt = medium.prompt(args.prompt) if args.prompt else ()
    num, length = args.num or medium.num, args.length or draw.usual_length(run, medium.length)
    x = draw.sample(run, num, args.seed, args.label, args.temperature, length, prompt)
    record = {"out": args.out, "num": len(x), "step": run.step}
    if out is None:
        text = medium.text(x)
        say(args, {**record, "text": text}, text)
        return
    out.write({"samples": x}, x, lambda: medium.encoded(x))
    say(args, record, f"{len(x)} samples in {out.shown}")


def _complete(args: argparse.Namespace) -> None:
    import numpy as np

    from gen_jax import runtime
    from gen_jax.commands import reading
    from gen_jax.commands.writing import target
    from gen_jax.evaluate import draw, regions
    from gen_jax.media import pictures
    from gen_jax.media.images import Images
    from gen_jax.runs.run import load_run

    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    event = run.experiment.model.event
    medium = Images(event, run.presentation)
    out = target(args, medium, f"{name_of(args.workdir)}_completions")
    with reading.files(args.images) as files:
        x = pictures.read_images(files, event, args.max_bytes, medium.palette)
    keep = regions.read_mask(args.keep, event.shape, args.max_bytes)
    unlabelled = run.conditional and args.label is None
    labels = None if unlabelled else draw.labels_for(run, len(x), args.label)
    drawn = draw.complete(run, x, keep, args.seed, labels, args.temperature)

    def beside() -> bytes:
        rows = np.stack([x, np.where(keep, x, 0), drawn], axis=1)
        return medium.sheet(rows.reshape(-1, *event.shape), columns=3)

    out.write({"completions": drawn}, drawn, beside)
    what = "" if out.folder else ": image, kept part, completion"
    say(
        args,
        {"out": args.out, "num": len(x), "kept_sites": int(keep.sum()), "step": run.step},
        f"{len(x)} completions in {out.shown}{what}" + pictures.quantised(files, medium.palette),
    )
