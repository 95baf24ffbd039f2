"""Shared by all commands: their declaration, argument types, and output of results."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from gen_jax import processes, terminal
from gen_jax.disk import write_atomically
from gen_jax.errors import InputError
from gen_jax.processes import Joining

INPUT_STATUS = 2
STDIN = STDOUT = "-"


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one sentence, with status 2."""

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print the message, even to a terminal that cannot show every character."""
        terminal.write(message, file or sys.stderr)

    def error(self, message: str) -> NoReturn:
        self.exit(INPUT_STATUS, f"{self.prog}: {message}; see {self.prog} --help\n")


Subparsers = argparse._SubParsersAction
Run = Callable[[argparse.Namespace], int | None]
MODEL_FOLDER = "folder of a trained model, or the name of one in `gen-jax list`"


def command(
    parent: Subparsers, name: str, summary: str, example: str, run: Run, bars: bool = True
) -> argparse.ArgumentParser:
    """Declare a command; `run` executes it and returns its exit status, None for 0.

    `bars`: the loops that it runs show progress bars (`gen_jax/progress.py`); the train loop has its own.
    """
    parser = _declare(parent, name, summary, example)
    parser.set_defaults(run=run, bars=bars)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    loudness = parser.add_mutually_exclusive_group()
    for flags, loud, meaning in (
        (("-q", "--quiet"), "quiet", "print the result, warnings and errors only: no log, no progress bar"),
        (("-v", "--verbose"), "verbose", "also log times and messages of libraries, and where an error was raised"),
    ):  # fmt: skip
        loudness.add_argument(
            *flags, action="store_const", dest="loudness", const=loud, help=meaning
        )
    return parser


def group(parent: Subparsers, name: str, summary: str, example: str) -> Subparsers:
    """Declare a command that only has subcommands."""
    parser = _declare(parent, name, summary, example)
    return parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)


def workdir(parser: argparse.ArgumentParser) -> None:
    """Add the folder of a model as the argument `workdir`."""
    parser.add_argument("workdir", type=Path, help=MODEL_FOLDER)


def workdirs(parser: argparse.ArgumentParser) -> None:
    """Add the folders of one or several models as the argument `workdirs`."""
    parser.add_argument("workdirs", type=Path, nargs="+", metavar="workdir", help=MODEL_FOLDER)


def seed(parser: argparse.ArgumentParser) -> None:
    """Add --seed to a command."""
    parser.add_argument("--seed", type=natural, default=0, help="seed of the draws (default: 0)")


def data_dir(parser: argparse.ArgumentParser) -> None:
    """Add --data-dir to a command."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="folder of prepared data sets (default: $TFDS_DATA_DIR or ~/tensorflow_datasets)",
    )


def memory_limit(parser: argparse.ArgumentParser) -> None:
    """Add --memory-limit to a command: `memory`, in bytes."""
    parser.add_argument(
        "--memory-limit",
        dest="memory",
        type=gibibytes,
        default=gibibytes("2"),
        metavar="GIB",
        help="read a split of the data that is larger from disk, batch by batch (default: 2)",
    )


def max_bytes(parser: argparse.ArgumentParser) -> None:
    """Add --max-bytes to a command."""
    parser.add_argument(
        "--max-bytes",
        type=positive,
        metavar="N",
        help="refuse a file that unpacks to more bytes (default: 64 MiB, or 32 times the size of a large file)",
    )


def trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust, for every command that reads a model folder."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="import classes from outside gen_jax that the folder names, which runs their code",
    )


def force(parser: argparse.ArgumentParser) -> None:
    """Add --force, for commands that write data which cannot be computed again."""
    parser.add_argument("--force", action="store_true", help="overwrite the file of -o")


def fsdp(parser: argparse.ArgumentParser) -> None:
    """Add --fsdp to a command."""
    parser.add_argument(
        "--fsdp",
        type=positive,
        default=1,
        metavar="N",
        help="split large arrays of the weights and their optimiser over N devices, which must divide all (default: 1)",
    )


def joining(parser: argparse.ArgumentParser) -> None:
    """Add the flags by which several processes make one run."""
    group = parser.add_argument_group(
        "several processes",
        "found by srun, mpirun, an indexed Kubernetes job or a Cloud TPU without any of these",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of the first process")
    group.add_argument("--processes", type=positive, metavar="N", help="number of processes")
    group.add_argument(
        "--process", type=natural, metavar="I", help="which of them this is, from 0 to N - 1"
    )
    group.add_argument(
        "--alone", action="store_true", help="run in this process only, whatever the scheduler says"
    )


def joined(args: argparse.Namespace) -> Joining:
    """What the flags of `joining` say."""
    return Joining(args.coordinator, args.processes, args.process, args.alone)


def check_new(path: Path, forced: bool) -> None:
    """InputError if the path exists, unless --force is given."""
    if os.path.lexists(path) and not forced:
        raise InputError(f"-o: {path} exists; --force overwrites it")


def check_out(
    path: Path, endings: tuple[str, ...] = (".png", ".npz"), option: str = "--out"
) -> None:
    """InputError if the file cannot be written, before a long computation starts."""
    if path.suffix not in endings:
        raise InputError(f"{option} needs a name that ends in {' or '.join(endings)}, not {path}")
    check_folder(path, option)
    if path.is_dir():
        raise InputError(f"{option}: {path} is a folder")


def check_folder(path: Path, option: str = "--out") -> None:
    """InputError if nothing can be written in the folder of the path."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{option}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option}: nothing can be written in {folder}")


def name_of(folder: Path) -> str:
    """The name of a model's folder, for the default names of what is made from it."""
    return folder.name or folder.resolve().name


def say(args: argparse.Namespace, record: dict[str, Any], sentence: str) -> None:
    """Print the result: a JSON object with --json, otherwise a sentence; on standard error if --out is -.

    If there are several processes, only the first one prints.
    """
    if not processes.first():
        return
    stream = sys.stderr if str(getattr(args, "out", "")) == STDOUT else None
    terminal.write((json.dumps(record, indent=1) if args.json else sentence) + "\n", stream)


def say_and_save(
    args: argparse.Namespace, record: dict[str, Any], sentence: str, path: Path, content: str
) -> None:
    """Print a result, then save it, so that nothing is lost if the folder cannot be written."""
    say(args, record, sentence)
    sys.stdout.flush()
    with processes.agreed():
        try:
            if processes.first():
                write_atomically(path, content)
        except OSError as error:
            raise InputError(
                f"the result is printed above, but could not be saved as {path}: {error.strerror}"
            ) from error


def positive(text: str) -> int:
    """A whole number, at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def gibibytes(text: str) -> float:
    """Bytes, of a number of GiB."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of GiB")
    return value * 2**30


def natural(text: str) -> int:
    """A whole number from 0 to 2^32 - 1."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2^32 - 1")
    return int(text)


def place(text: str) -> tuple[int, int]:
    """Row and column of a text such as 4,4."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not ROW,COLUMN such as 4,4")
    return int(parts[0]), int(parts[1])


def size(text: str) -> tuple[int, int]:
    """Height and width of a text such as 32, for 32x32, or 48x64."""
    parts = text.split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) < 10**5 for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not SIDE or HEIGHTxWIDTH, such as 32 or 48x64"
        )
    return int(parts[0]), int(parts[-1])


def temperature(text: str) -> float:
    """A positive number that float32 can compute with."""
    from gen_jax import inputs  # imports jax, which no other argument needs

    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    try:
        return inputs.temperature(value).values
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _declare(parent: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    return parent.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
