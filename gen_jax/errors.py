"""The one exception that a user's input may cause."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user can mend: the command line prints the sentence and exits with status 2."""


class SaveError(InputError):
    """A checkpoint could not be written; those saved before are untouched."""


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def near(name: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' with the known names closest to `name`, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=2)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""
