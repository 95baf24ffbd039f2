"""gen-jax: parse the command line. What a command does is in `commands.py`, imported only when it runs."""

import argparse
import errno
import math
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from gen_jax.errors import InputError, SaveError

INPUT_STATUS, FAILURE_STATUS = 2, 1


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(INPUT_STATUS, f"{self.prog}: {message}; see {self.prog} --help\n")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return value


def natural(text: str) -> int:
    """A whole number of at least 0, below 2^32."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 2^32 - 1")
    return int(text)


def place(text: str) -> tuple[int, int]:
    """ROW,COLUMN."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no ROW,COLUMN such as 4,4")
    return int(parts[0]), int(parts[1])


def temperature(text: str) -> float:
    """A positive finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="gen-jax", description="Train and use likelihood-based generative models.")
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )

    def add(
        name: str, summary: str, example: str, json: bool = False, of=commands
    ) -> argparse.ArgumentParser:
        formatter = argparse.RawDescriptionHelpFormatter
        command = of.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example:\n  {example}",
            formatter_class=formatter,
        )
        if json:
            command.add_argument(
                "--json", action="store_true", help="one JSON object on standard output"
            )
        return command

    def data_dir(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--data-dir",
            type=Path,
            help="folder of prepared data sets ($TFDS_DATA_DIR, else ~/tensorflow_datasets)",
        )

    def drawing(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--out", type=Path, required=True, help=".png for a grid, .npz for the integers"
        )
        command.add_argument("--label", type=int, help="class; only for class-conditional models")
        command.add_argument(
            "--temperature", type=temperature, default=1.0, help="below 1: closer to the mode"
        )
        command.add_argument("--seed", type=natural, default=0)

    train = add(
        "train",
        "Train a config, or continue the work directory that holds it.",
        "gen-jax train experiments/configs/gated_pixel_cnn_digits.py --set model.depth=4 --workdir runs/deep4",
        json=True,
    )
    train.add_argument("config", type=Path, help="Python file that defines experiment()")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="replace a field of the config",
    )
    train.add_argument(
        "--workdir", type=Path, help="where to keep the run (runs/NAME of the config)"
    )
    train.add_argument(
        "--parallel",
        choices=("jit", "pmap"),
        default="jit",
        help="over devices: one program split by the compiler, or the same step mapped",
    )
    data_dir(train)

    evaluate = add(
        "evaluate",
        "bits/dim of the best checkpoint over a whole split.",
        "gen-jax evaluate runs/gated_pixel_cnn_digits --split test",
        json=True,
    )
    evaluate.add_argument("workdir", type=Path)
    evaluate.add_argument("--split", default="test")
    evaluate.add_argument("--limit", type=positive, help="only the first N examples")
    data_dir(evaluate)

    certify = add(
        "certify",
        "Check the laws on the trained weights: causal, normalised, step = parallel, samples follow p, finite.",
        "gen-jax certify runs/gated_pixel_cnn_digits",
        json=True,
    )
    certify.add_argument("workdir", type=Path)
    certify.add_argument("--split", default="validation")
    certify.add_argument("--examples", type=positive, default=12, help="real images to try (12)")
    certify.add_argument("--seed", type=natural, default=0)
    data_dir(certify)

    sample = add(
        "sample",
        "Draw new examples.",
        "gen-jax sample runs/gated_pixel_cnn_digits --num 64 --out grid.png",
        json=True,
    )
    sample.add_argument("workdir", type=Path)
    sample.add_argument("--num", type=positive, default=64)
    drawing(sample)

    complete = add(
        "complete",
        "Keep a part of given images and draw the rest.",
        "gen-jax complete runs/gated_pixel_cnn_digits digit.png --keep top:0.5 --out grid.png",
        json=True,
    )
    complete.add_argument("workdir", type=Path)
    complete.add_argument(
        "images", type=Path, nargs="+", help="PNG files or .npz files with one array"
    )
    complete.add_argument(
        "--keep", required=True, metavar="SIDE:FRACTION", help="what stays, such as top:0.5"
    )
    drawing(complete)

    receptive = add(
        "receptive-field",
        "Draw the pixels that a pixel's distribution really depends on, for several models side by side.",
        "gen-jax receptive-field runs/pixel_cnn_digits runs/gated_pixel_cnn_digits --site 5,2 --out field.png",
        json=True,
    )
    receptive.add_argument("workdirs", type=Path, nargs="+", metavar="workdir")
    receptive.add_argument("--site", type=place, required=True, metavar="ROW,COLUMN")
    receptive.add_argument("--out", type=Path, required=True, help=".png")
    receptive.add_argument("--split", default="validation")
    receptive.add_argument("--examples", type=positive, default=8, help="images to average (8)")
    receptive.add_argument(
        "--noise", action="store_true", help="random images instead of the data set's"
    )
    receptive.add_argument("--seed", type=natural, default=0)
    data_dir(receptive)

    report = add(
        "report",
        "One HTML file that opens offline: curves, samples, completions, bits of each pixel, config.",
        "gen-jax report runs/gated_pixel_cnn_digits --out report.html",
    )
    report.add_argument("workdirs", type=Path, nargs="+", metavar="workdir")
    report.add_argument("--out", type=Path, required=True)
    data_dir(report)

    export = add(
        "export",
        "The evaluated weights alone, as a small folder that samples and evaluates.",
        "gen-jax export runs/gated_pixel_cnn_digits --out digits_model",
        json=True,
    )
    export.add_argument("workdir", type=Path)
    export.add_argument("--out", type=Path, required=True, help="a new folder")

    compress = add(
        "compress",
        "Compress images without loss: a file of the model's own number of bits.",
        "gen-jax compress runs/gated_pixel_cnn_digits digits.npz -o digits.gjx",
        json=True,
    )
    compress.add_argument("workdir", type=Path)
    compress.add_argument(
        "images", type=Path, nargs="+", help="one .npz file of arrays, or PNG files"
    )
    compress.add_argument("-o", "--out", type=Path, required=True, help="a name in .gjx")
    compress.add_argument(
        "--label", type=int, help="class of all images, where the model has classes"
    )

    decompress = add(
        "decompress",
        "Give back what was compressed, bit for bit.",
        "gen-jax decompress runs/gated_pixel_cnn_digits digits.gjx -o digits.npz",
        json=True,
    )
    decompress.add_argument("workdir", type=Path)
    decompress.add_argument("file", type=Path)
    decompress.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        help="the .npz or .png file, or a new folder for several pictures",
    )

    add("list", "Systems, configs, published and measured numbers.", "gen-jax list", json=True)

    data = add("data", "Prepare data sets.", "gen-jax data prepare digits")
    actions = data.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=Parser
    )
    listing = add(
        "list",
        "Data sets and whether they are prepared.",
        "gen-jax data list",
        json=True,
        of=actions,
    )
    data_dir(listing)
    prepare = add(
        "prepare",
        "Write a data set as ArrayRecord files.",
        "gen-jax data prepare binarized_mnist --source binarized_mnist.npz",
        of=actions,
    )
    prepare.add_argument("name")
    prepare.add_argument(
        "--source", help="file or folder with the original data; without it, they are downloaded"
    )
    data_dir(prepare)

    importing = add(
        "import",
        "Turn your own files into a prepared data set: .npz, PNG, idx, CIFAR binary or text.",
        "gen-jax data import photos my_photos/ --tiles 32",
        json=True,
        of=actions,
    )
    importing.add_argument("name", help="lower-case letters, digits and _")
    importing.add_argument("paths", type=Path, nargs="+", metavar="path")
    importing.add_argument(
        "--levels", type=positive, help="values are 0..LEVELS-1 (2 where all are 0 or 1, else 256)"
    )
    importing.add_argument(
        "--tiles", type=positive, metavar="SIDE", help="cut images into SIDE x SIDE"
    )
    importing.add_argument("--length", type=positive, help="symbols of a text window (128)")
    importing.add_argument(
        "--split",
        metavar="SHARES",
        help="how to cut train (train=0.9,validation=0.05,test=0.05 where it is all there is)",
    )
    data_dir(importing)

    export = add(
        "export",
        "Write examples of a prepared set as .npz.",
        "gen-jax data export digits --split test --limit 12 --out digits.npz",
        of=actions,
    )
    export.add_argument("name")
    export.add_argument("--split", default="test")
    export.add_argument("--limit", type=positive, help="only the first N examples")
    export.add_argument("--out", type=Path, required=True)
    data_dir(export)

    bench = add("bench", "Measure cost as ratios within one run.", "gen-jax bench sampling --json")
    subjects = bench.add_subparsers(
        dest="subject", required=True, metavar="SUBJECT", parser_class=Parser
    )
    cost = add(
        "sampling",
        "Cost of a sample in forward passes.",
        "gen-jax bench sampling --json",
        json=True,
        of=subjects,
    )
    cost.add_argument("--batch", type=positive, default=64)
    cost.add_argument(
        "--no-naive",
        action="store_true",
        help="leave out the loop of full passes (minutes on a CPU)",
    )
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a command; status 2 and one sentence where the user can mend it."""
    args = parser().parse_args(argv)
    args.typed = shlex.join(["gen-jax", *(sys.argv[1:] if argv is None else argv)])
    try:
        from gen_jax import commands

        return commands.run(args)
    except SaveError as error:
        _leave(str(error))
    except InputError as error:
        return _fail(str(error), INPUT_STATUS)
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EACCES,
            errno.EROFS,
            errno.EFBIG,
            errno.EDQUOT,
            errno.ENOTDIR,
        ):
            raise
        return _fail(
            f"cannot use {error.filename or 'a file'}: {error.strerror}; what was saved is kept",
            INPUT_STATUS,
        )
    except FloatingPointError as error:
        return _fail(str(error), FAILURE_STATUS)
    except KeyboardInterrupt:
        goes_on = args.command == "train"
        more = "; the same command continues from the last checkpoint" if goes_on else ""
        return _fail(f"interrupted{more}", 130)


def _fail(sentence: str, status: int) -> int:
    print(f"gen-jax: {sentence}", file=sys.stderr)
    return status


def _leave(sentence: str) -> NoReturn:
    """Tell a failed save once: the file layer's threads are still telling it, so silence them and do not wait."""
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.write(stderr, f"\ngen-jax: {sentence}\n".encode())
    os._exit(INPUT_STATUS)


if __name__ == "__main__":
    sys.exit(main())
