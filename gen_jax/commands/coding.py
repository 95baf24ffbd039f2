"""Commands that write a model's bytes: compressed files and exported weights."""

import argparse
from pathlib import Path

from gen_jax.commands.arguments import (
    Subparsers,
    check_new,
    check_out,
    command,
    force,
    max_bytes,
    say,
    trust,
    workdir,
)
from gen_jax.disk import write_atomically
from gen_jax.errors import InputError


def add(commands: Subparsers) -> None:
    """Add `compress`, `decompress` and `export`."""
    compress = command(
        commands,
        "compress",
        "Compress examples without loss, to the model's number of bits.",
        "gen-jax compress runs/gated_pixel_cnn_digits digits.npz -o digits.gjx",
        run=_compress,
    )
    workdir(compress)
    compress.add_argument(
        "images", type=Path, nargs="+", help="one .npz file of arrays, or PNG files"
    )
    compress.add_argument(
        "-o", "--out", type=Path, required=True, help="the compressed file, NAME.gjx"
    )
    compress.add_argument(
        "--label", type=int, help="class of all examples, if the model has classes"
    )
    max_bytes(compress)
    force(compress)
    trust(compress)

    decompress = command(
        commands,
        "decompress",
        "Restore a compressed file, bit for bit.",
        "gen-jax decompress runs/gated_pixel_cnn_digits digits.gjx -o digits.npz",
        run=_decompress,
    )
    workdir(decompress)
    decompress.add_argument("file", type=Path, help="the compressed file")
    decompress.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        help="an .npz or .png file, or a new folder for several pictures",
    )
    force(decompress)
    trust(decompress)

    export = command(
        commands,
        "export",
        "Export the evaluated weights as a small folder that can sample and evaluate.",
        "gen-jax export runs/gated_pixel_cnn_digits --out digits_model",
        run=_export,
    )
    workdir(export)
    export.add_argument("--out", type=Path, required=True, help="a new folder")
    trust(export)


def _compress(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.coding import files
    from gen_jax.coding.codec import Codec
    from gen_jax.data.palette import colours_of
    from gen_jax.media.pictures import quantised
    from gen_jax.runs.run import load_run

    check_out(args.out, (".gjx",), "-o")
    check_new(args.out, args.force)
    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    codec = Codec(run.experiment.model, run.variables)
    palette = colours_of(codec.event, run.presentation)
    content = files.read(args.images, codec.event, args.label, args.max_bytes, palette)
    data, size = codec.compress(content)
    write_atomically(args.out, data)
    record = {"out": str(args.out), "step": run.step, **size.record()}
    say(args, record, f"{args.out}: {size}{quantised(args.images, palette)}")


def _decompress(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.coding import container, files
    from gen_jax.coding.codec import Codec
    from gen_jax.data.palette import colours_of
    from gen_jax.runs.run import load_run

    if not args.file.is_file():
        raise InputError(f"no such file: {args.file}")
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"-o: there is no folder {args.out.absolute().parent}")
    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    codec = Codec(run.experiment.model, run.variables)
    try:
        data = args.file.read_bytes()
        header, _ = container.unpack(data)
        files.check_out(header.kind, len(header.entries), args.out)
        check_new(args.out, args.force)
        content = codec.decompress(data)
        files.write(content, args.out, codec.levels, colours_of(codec.event, run.presentation))
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from error
    count = sum(len(x) for x in content.arrays.values())
    say(
        args,
        {"out": str(args.out), "num": count, "arrays": list(content.arrays)},
        f"{count} events in {args.out}",
    )


def _export(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.laws import certificate
    from gen_jax.runs import weights
    from gen_jax.runs.run import load_run

    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    fits = certificate.standing(run.workdir, run.variables).fits
    size = weights.export(run.workdir, run.variables, run.step, args.out, certificate=fits)
    say(
        args,
        {"out": str(args.out), "step": run.step, "weights_bytes": size},
        f"the weights of step {run.step} are in {args.out}, {size:,} bytes",
    )
