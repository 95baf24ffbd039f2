"""The command that prints a completion script for a shell: `completion`."""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gen_jax import included
from gen_jax.commands.arguments import Parser, Subparsers, command, say

SHELLS = ("bash", "zsh", "fish", "tcsh")
# What the scripts call for a config or a trained model: the names of those that come with the package, and files.
NAMED = {"config": "_gen_jax_configs", "workdir": "_gen_jax_models", "workdirs": "_gen_jax_models"}
FUNCTION = {
    "bash": '{function}() {{ compgen -W "{names}" -- "$1"; compgen -f -- "$1"; }}\n',
    "zsh": "{function}() {{ compadd -- {names}; _files; }}\n",
}


def add(commands: Subparsers, top: Parser) -> None:
    """Add `completion`, which describes the whole command line `top`."""
    completion = command(
        commands,
        "completion",
        "Print the script with which a shell completes commands, options, files and names of configs.",
        'eval "$(gen-jax completion bash)"',
        run=partial(_completion, top),
        bars=False,
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell that reads the script")


def _completion(top: Parser, args: argparse.Namespace) -> None:
    import shtab

    from gen_jax.runs import trained

    for parser in _parsers(top):
        for action in parser._actions:
            if action.type is Path or action.dest == "out":
                action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]  read by shtab
            if action.dest in NAMED and not action.option_strings:
                by_shell = dict.fromkeys(FUNCTION, NAMED[action.dest])
                action.complete = by_shell  # pyright: ignore[reportAttributeAccessIssue]
    names = {"_gen_jax_configs": included.config_paths(), "_gen_jax_models": trained.names()}
    function = FUNCTION.get(args.shell, "")
    preamble = "".join(
        function.format(function=name, names=" ".join(known)) for name, known in names.items()
    )
    script = shtab.complete(top, args.shell, preamble=preamble)
    say(args, {"shell": args.shell, "script": script}, script)


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _parsers(each)
