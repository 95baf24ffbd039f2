"""Exceptions for errors that a user can fix."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """An error that the user can fix: the command line prints its sentence and exits with status 2."""


class SaveError(InputError):
    """A checkpoint could not be written; earlier ones are untouched."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def near(name: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' with the known names closest to `name`, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=2)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""
