"""Commands for data sets: list, prepare, import, quantise, export."""

import argparse
import contextlib
import io
from pathlib import Path

from gen_jax.commands.arguments import (
    Subparsers,
    command,
    data_dir,
    group,
    max_bytes,
    positive,
    say,
    size,
)


def add(commands: Subparsers) -> None:
    """Add `data` and its actions."""
    actions = group(
        commands,
        "data",
        "List, prepare, import and export data sets.",
        "gen-jax data prepare digits",
    )
    listing = command(
        actions,
        "list",
        "List data sets and whether they are prepared.",
        "gen-jax data list",
        run=_list,
    )
    data_dir(listing)
    prepare = command(
        actions,
        "prepare",
        "Prepare a built-in data set: read the originals, write ArrayRecord files.",
        "gen-jax data prepare binarized_mnist --source binarized_mnist.npz",
        run=_prepare,
    )
    prepare.add_argument("name", help="name of the data set, as in `gen-jax data list`")
    prepare.add_argument(
        "--source", help="file or folder with the original data (default: download them)"
    )
    data_dir(prepare)

    importing = command(
        actions,
        "import",
        "Turn your own files into a prepared data set: .npz, PNG, JPEG, WAV, FLAC, idx, CIFAR binary or text.",
        "gen-jax data import photos my_photos/ --tiles 32",
        run=_import,
    )
    importing.add_argument("name", help="name for the data set: lower-case letters, digits and _")
    importing.add_argument(
        "paths", type=Path, nargs="+", metavar="path", help="files, or a folder of files"
    )
    importing.add_argument(
        "--levels",
        type=positive,
        help="values are 0..LEVELS-1 (default: 2 if all values are 0 or 1, otherwise 256)",
    )
    importing.add_argument(
        "--tiles", type=positive, metavar="SIDE", help="cut images into tiles of SIDE x SIDE"
    )
    importing.add_argument(
        "--convert",
        choices=("rgb", "grey"),
        help="decode pictures of any kind (PNG with palette, alpha or 16 bits, JPEG, WebP, BMP, GIF) to 8 bits",
    )
    importing.add_argument(
        "--crop",
        type=_crop,
        metavar="SIZE",
        help="keep the central SIDE or HEIGHTxWIDTH pixels of each picture, or the largest `square`",
    )
    importing.add_argument(
        "--resize",
        type=size,
        metavar="SIZE",
        help="scale each picture to SIDE or HEIGHTxWIDTH pixels, after --crop",
    )
    importing.add_argument(
        "--length",
        type=positive,
        help="length of a window: symbols of a text (default: 128) or samples of a sound (1024)",
    )
    importing.add_argument("--mono", action="store_true", help="average the channels of a sound")
    importing.add_argument(
        "--short",
        choices=("pad", "skip"),
        help="pad a sound shorter than a window with silence, or skip it",
    )
    importing.add_argument(
        "--windows",
        choices=("all", "first"),
        default="all",
        help="all windows of a sound, or the first of each (default: all)",
    )
    channels = importing.add_mutually_exclusive_group()
    for which, shape in (("first", "(N, C, H, W)"), ("last", "(N, H, W, C)")):
        channels.add_argument(
            f"--channels-{which}",
            action="store_const",
            dest="channels",
            const=which,
            help=f"arrays of images have shape {shape}",
        )
    importing.add_argument(
        "--classes",
        action="store_true",
        help="folders are classes, even if a name looks like a split",
    )
    importing.add_argument(
        "--names",
        metavar="PATTERN",
        help="a regular expression for file names without ending; its group (?P<label>...) is the class, its group"
        " (?P<index>...) a number for --split",
    )
    importing.add_argument(
        "--split",
        metavar="SHARES",
        help="shares into which train is split (default if there is only train: train=0.9,validation=0.05,test=0.05),"
        " or ranges of the index of --names (train=10-49,validation=5-9,test=0-4)",
    )
    max_bytes(importing)
    data_dir(importing)

    palette = command(
        actions,
        "palette",
        "Turn a prepared set of RGB images into a set of tokens of a k-means palette.",
        "gen-jax data palette cifar10 --colours 512 --side 16",
        run=_palette,
    )
    palette.add_argument("name", help="name of the data set")
    palette.add_argument(
        "--colours", type=positive, required=True, metavar="K", help="number of colours"
    )
    palette.add_argument(
        "--side", type=positive, help="first reduce images to SIDE x SIDE by averaging blocks"
    )
    data_dir(palette)

    export = command(
        actions,
        "export",
        "Export examples of a prepared data set as .npz, or in the format of their medium, such as .png or .wav.",
        "gen-jax data export digits --split test --limit 12 --out digits.npz",
        run=_export,
    )
    export.add_argument("name", help="name of the data set")
    export.add_argument("--split", default="test", help="split to export (default: test)")
    export.add_argument("--limit", type=positive, metavar="N", help="only the first N examples")
    export.add_argument(
        "--out",
        help=".npz for arrays; .png, .wav or .txt as fits; FOLDER/ for a file each; - for standard output (default:"
        " NAME_SPLIT.npz here)",
    )
    data_dir(export)


def _crop(text: str) -> tuple[int, int] | str:
    return text if text == "square" else size(text)


def _list(args: argparse.Namespace) -> None:
    from gen_jax.data import prepared
    from gen_jax.data.builders import BUILDERS
    from gen_jax.data.importing.writer import imported

    folder = args.data_dir or prepared.default_data_dir()
    there = prepared.prepared_names(args.data_dir)
    rows = [
        {"name": name, "is": (builder.__doc__ or "").splitlines()[0], "prepared": name in there}
        for name, builder in sorted(BUILDERS.items())
    ] + [
        {"name": name, "is": described, "prepared": True}
        for name, described in imported(args.data_dir).items()
        if name not in BUILDERS
    ]
    lines = [
        f"  {row['name']:<23} {'prepared' if row['prepared'] else 'not prepared':<13} {row['is']}"
        for row in rows
    ]
    record = {"data_dir": str(folder), "datasets": rows}
    say(args, record, "\n".join([f"in {folder}:", *lines]))


def _prepare(args: argparse.Namespace) -> None:
    from gen_jax.data import prepared
    from gen_jax.runs.logging import log_to_stderr

    log_to_stderr()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints messages
        folder = prepared.prepare(args.name, args.data_dir, args.source)
    say(args, {"name": args.name, "out": str(folder)}, f"{args.name} is in {folder}")


def _import(args: argparse.Namespace) -> None:
    from gen_jax.data.conversion import Conversion
    from gen_jax.data.importing.importer import Options, import_files
    from gen_jax.runs.logging import log_to_stderr

    log_to_stderr()
    options = Options(
        args.levels, args.tiles, args.length, args.split, args.mono, args.max_bytes, args.channels,
        args.classes, args.short, args.names, args.windows,
        Conversion(args.convert, args.crop, args.resize),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):  # as above
        done = import_files(args.name, args.paths, options, args.data_dir)
    say(args, done.record(), "\n".join(done.sentences()))


def _palette(args: argparse.Namespace) -> None:
    from gen_jax.data.importing import palette
    from gen_jax.runs.logging import log_to_stderr

    log_to_stderr()
    with contextlib.redirect_stdout(io.StringIO()):  # as above
        result = palette.make(args.name, args.colours, args.side, args.data_dir)
    say(args, result.record(), "\n".join(result.sentences()))


def _export(args: argparse.Namespace) -> None:
    from gen_jax.commands.writing import target
    from gen_jax.data import prepared
    from gen_jax.media import arrays, medium_of

    split = prepared.load(args.name, args.split, args.data_dir)
    medium = medium_of(split.event, split.presentation)
    args.out = args.out or f"{args.name}_{args.split}{arrays.ENDING}"
    out = target(args, medium, args.name)
    x = split.x[: args.limit]
    out.write({"images": x}, x, lambda: medium.encoded(x))
    num = len(x)
    record = {"name": args.name, "split": args.split, "num": num, "out": args.out}
    say(args, record, f"{num} examples of {args.name} {args.split} in {out.shown}")
