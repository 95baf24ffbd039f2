"""gen-jax: parse the command line, run the command, report errors that the user can fix in one sentence."""

import argparse
import errno
import logging
import os
import shlex
import sys
import traceback
from typing import NoReturn

from gen_jax import __version__, progress, terminal
from gen_jax.commands import (
    coding,
    completion,
    data,
    encoding,
    generating,
    judging,
    measuring,
    training,
)
from gen_jax.commands.arguments import INPUT_STATUS, Parser
from gen_jax.errors import InputError, SaveError, first_line

FAILURE_STATUS = 1
OUT_OF_MEMORY = "out of memory: a smaller batch, model or number of examples takes less"
LEVELS = {"quiet": logging.WARNING, "verbose": logging.DEBUG, None: logging.INFO}
JAX_SETTING = ("for JAX flag jax_", "for environment 'JAX_")  # JAX's messages about a wrong setting


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = Parser(prog="gen-jax", description="Train and use likelihood-based generative models.")
    top.add_argument("-V", "--version", action="version", version=f"gen-jax {__version__}")
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for group in (training, judging, generating, encoding, coding, data, measuring):
        group.add(commands)
    completion.add(commands, top)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a command; status 2 and one sentence for an error that the user can fix."""
    args = parser().parse_args(argv)
    args.typed = shlex.join(["gen-jax", *(sys.argv[1:] if argv is None else argv)])
    logging.getLogger("gen_jax").setLevel(LEVELS[args.loudness])
    try:
        with progress.shown(args.bars and args.loudness != "quiet"):
            status = args.run(args) or 0
        sys.stdout.flush()
        return status
    except SaveError as error:
        _leave(str(error))
    except InputError as error:
        if args.loudness == "verbose":
            traceback.print_exc()
        return _fail(str(error), INPUT_STATUS)
    except ValueError as error:
        if not any(words in str(error) for words in JAX_SETTING):
            raise
        return _fail(f"JAX rejects an environment variable: {error}", INPUT_STATUS)
    except BrokenPipeError:  # the reader has left, as in `gen-jax list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE_STATUS
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.EFBIG,
            errno.EDQUOT,
            errno.EIO,
            errno.ENOTDIR,
            errno.EISDIR,
            errno.ELOOP,
            errno.ENAMETOOLONG,
        ):
            raise
        return _fail(
            f"cannot use {error.filename or 'a file'}: {error.strerror}; saved files are kept",
            INPUT_STATUS,
        )
    except MemoryError as error:
        return _fail(f"{OUT_OF_MEMORY} ({first_line(error)})", FAILURE_STATUS)
    except RuntimeError as error:  # JAX reports a device's memory so
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _fail(f"{OUT_OF_MEMORY} ({first_line(error)})", FAILURE_STATUS)
    except FloatingPointError as error:
        return _fail(str(error), FAILURE_STATUS)
    except KeyboardInterrupt:
        resumes = args.command in ("train", "reproduce")
        hint = "; the same command continues from the last checkpoint" if resumes else ""
        return _fail(f"interrupted{hint}", 130)


def _fail(sentence: str, status: int) -> int:
    terminal.write(f"gen-jax: {terminal.line(sentence)}\n", sys.stderr)
    return status


def _leave(sentence: str) -> NoReturn:
    """Report a failed save once: silence Orbax's threads, which also print it, and exit without joining them."""
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.write(stderr, f"\ngen-jax: {terminal.line(sentence)}\n".encode())
    os._exit(INPUT_STATUS)


if __name__ == "__main__":
    sys.exit(main())
