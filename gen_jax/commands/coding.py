"""Commands that write a model's bytes: compressed files and exported weights."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gen_jax.commands.arguments import (
    STDIN,
    STDOUT,
    Subparsers,
    check_folder,
    check_new,
    check_out,
    command,
    force,
    max_bytes,
    name_of,
    say,
    trust,
    workdir,
)
from gen_jax.errors import InputError


def add(commands: Subparsers) -> None:
    """Add `compress`, `decompress` and `export`."""
    compress = command(
        commands,
        "compress",
        "Compress examples without loss, to the model's number of bits.",
        "gen-jax compress runs/gated_pixel_cnn_digits digit.png",
        run=_compress,
    )
    workdir(compress)
    compress.add_argument(
        "images",
        type=Path,
        nargs="+",
        help="one .npz file of arrays, or PNG files, or folders of them, or - for standard input",
    )
    compress.add_argument(
        "-o",
        "--out",
        type=Path,
        help="the compressed file, NAME.gjx, or - for standard output (default: the input's name and .gjx)",
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
    decompress.add_argument("file", type=Path, help="the compressed file, or - for standard input")
    decompress.add_argument(
        "-o",
        "--out",
        type=Path,
        help="an .npz or .png file, or a new folder for several pictures, or - for standard output (default: the name"
        " without .gjx)",
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
    export.add_argument("--out", type=Path, help="a new folder (default: NAME_model here)")
    export.add_argument(
        "--format",
        choices=("npz", "safetensors"),
        default="npz",
        help="format of the weights: compressed .npz, or safetensors for other libraries (default: %(default)s)",
    )
    trust(export)


def _compress(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.coding import files
    from gen_jax.coding.codec import Codec
    from gen_jax.commands import reading, writing
    from gen_jax.data.palette import colours_of
    from gen_jax.media.pictures import quantised
    from gen_jax.runs.run import load_run

    args.out = args.out or _compressed_name(args.images)
    if str(args.out) == STDOUT:
        writing.check_stdout()
    else:
        check_out(args.out, (".gjx",), "-o")
        check_new(args.out, args.force)
    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    codec = Codec(run.experiment.model, run.variables)
    palette = colours_of(codec.event, run.presentation)
    with reading.files(args.images) as paths:
        content = files.read(paths, codec.event, args.label, args.max_bytes, palette)
        read = sum(path.stat().st_size for path in paths)
    data, size = codec.compress(content)
    writing.write_bytes(args.out, data)
    record = {"out": str(args.out), "step": run.step, **size.record()}
    record |= {"side_bytes": size.side_bytes, "input_bytes": read}
    input_size = f"; the input has {read:,} bytes"
    say(args, record, f"{args.out}: {size}{input_size}{quantised(paths, palette)}")


def _compressed_name(paths: Sequence[Path]) -> Path:
    """The name of what is compressed with .gjx; InputError for several files."""
    if len(paths) > 1:
        raise InputError("-o: several files need a name for the compressed file, NAME.gjx")
    [path] = paths
    return path if str(path) == STDIN else path.with_name(f"{name_of(path)}.gjx")


def _decompress(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.coding import container, files
    from gen_jax.coding.codec import Codec
    from gen_jax.commands import reading, writing
    from gen_jax.data.palette import colours_of
    from gen_jax.runs.run import load_run

    piped = str(args.file) == STDIN
    if not piped and not args.file.is_file():
        raise InputError(f"no such file: {args.file}")
    if args.out is not None and str(args.out) != STDOUT:
        check_folder(args.out, "-o")
    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    codec = Codec(run.experiment.model, run.variables)
    try:
        data = reading.standard_input() if piped else args.file.read_bytes()
        header, _ = container.unpack(data)
        args.out = args.out or _restored_name(args.file, header)
        with tempfile.TemporaryDirectory() as folder:
            out = args.out
            if str(out) == STDOUT:
                writing.check_stdout()
                out = Path(folder) / f"out.{header.kind}"
            files.check_out(header.kind, len(header.entries), out)
            check_new(out, args.force)
            content = codec.decompress(data)
            files.write(content, out, codec.levels, colours_of(codec.event, run.presentation))
            if out != args.out:
                writing.write_bytes(args.out, out.read_bytes())
    except InputError as error:
        raise InputError(f"{'standard input' if piped else args.file}: {error}") from error
    count = sum(len(x) for x in content.arrays.values())
    say(
        args,
        {"out": str(args.out), "num": count, "arrays": list(content.arrays)},
        f"{count} events in {args.out}",
    )


def _restored_name(file: Path, header: Any) -> Path:
    """The name without .gjx, with the ending of the content: a file, or a folder of several pictures."""
    if str(file) == STDIN:
        return Path(STDOUT)
    plain = file.with_suffix("") if file.suffix == ".gjx" else file
    if header.kind == "png" and len(header.entries) > 1:
        return plain if plain != file else file.with_name(f"{file.name}_pictures")
    ending = f".{header.kind}"
    return plain if plain.suffix.lower() == ending else plain.with_name(plain.name + ending)


def _export(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.laws import certificate
    from gen_jax.runs import weights
    from gen_jax.runs.run import load_run

    args.out = args.out or Path(f"{name_of(args.workdir)}_model")
    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    fits = certificate.standing(run.workdir, run.variables).fits
    of = (run.workdir, run.variables, run.step, args.out)
    size = weights.export(*of, certificate=fits, form=args.format)
    say(
        args,
        {"out": str(args.out), "step": run.step, "weights_bytes": size},
        f"the weights of step {run.step} are in {args.out}, {size:,} bytes",
    )
