"""gen-jax: parse the command line, run the command, report errors that the user can fix in one sentence."""

import argparse
import errno
import logging
import os
import shlex
import sys
import time
import traceback
from typing import NoReturn

from gen_jax import __version__, processes, progress, terminal
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
LOST = "a computation of several processes failed: most likely another one died"
OUT_OF_MEMORY = "out of memory: a smaller batch, model or number of examples takes less"
LEVELS = {"quiet": logging.WARNING, "verbose": logging.DEBUG, None: logging.INFO}
DISK = (
    errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.ENOTDIR,
    errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
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
    except BrokenPipeError:  # the reader has left, as in `gen-jax list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE_STATUS
    except (Exception, KeyboardInterrupt) as error:
        verdict = _verdict(error, args.command)
        alone = processes.several() and not processes.common(error)
        if verdict is None and not alone:
            raise
        if alone and processes.lost(error) and verdict is None:
            _lost(error)
        sentence, status = verdict or (first_line(error), FAILURE_STATUS)
        says = processes.tell(status) if alone else processes.first()
        if says and (verdict is None or args.loudness == "verbose"):
            traceback.print_exc()
        if says:
            terminal.write(f"gen-jax: {terminal.line(sentence)}\n", sys.stderr)
        if alone:
            processes.leave(status)
        return status


def _verdict(error: BaseException, command: str) -> tuple[str, int] | None:
    """The sentence and the exit status of an error that the user can fix; None for any other."""
    if isinstance(error, InputError):
        return str(error), INPUT_STATUS
    if isinstance(error, ValueError) and any(words in str(error) for words in JAX_SETTING):
        return f"JAX rejects an environment variable: {error}", INPUT_STATUS
    if isinstance(error, OSError) and error.errno in DISK:
        where = error.filename or "a file"
        return f"cannot use {where}: {error.strerror}; saved files are kept", INPUT_STATUS
    memory = isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    if memory or isinstance(error, MemoryError):  # JAX reports a device's memory as the former
        return f"{OUT_OF_MEMORY} ({first_line(error)})", FAILURE_STATUS
    if isinstance(error, FloatingPointError):
        return str(error), FAILURE_STATUS
    if isinstance(error, KeyboardInterrupt):
        resumes = command in ("train", "reproduce")
        hint = "; the same command continues from the last checkpoint" if resumes else ""
        return f"interrupted{hint}", 130
    return None


def _lost(error: BaseException) -> NoReturn:
    """End as the process that has left word; without a word say that one died, and let JAX abort by the heartbeat."""
    status = processes.told()
    if status is None:
        sentence = f"{LOST} ({first_line(error):.200})"
        terminal.write(f"gen-jax: {terminal.line(sentence)}\n", sys.stderr)
        time.sleep(processes.HEARTBEAT + processes.LAST)
        status = FAILURE_STATUS
    processes.leave(status)


def _leave(sentence: str) -> NoReturn:
    """Report a failed save once: silence Orbax's threads, which also print it, and exit without joining them."""
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if not processes.several() or processes.tell(INPUT_STATUS):
        os.write(stderr, f"\ngen-jax: {terminal.line(sentence)}\n".encode())
    if processes.several():
        processes.leave(INPUT_STATUS)
    os._exit(INPUT_STATUS)


if __name__ == "__main__":
    sys.exit(main())
