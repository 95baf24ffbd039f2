"""beartype, once for each signature: what is defined in a function is defined, and decorated, at each of its calls."""

import inspect
from collections.abc import Callable

from beartype import beartype

_CHECKED: dict[tuple[str, ...], Callable] = {}


def checked(function: Callable) -> Callable:
    """The function with its arguments and result checked.

    jaxtyping gives functions that have a signature and no content of their own, so those of one name and signature are
    one.
    """
    key = (function.__module__, function.__qualname__, str(inspect.signature(function)))
    if key not in _CHECKED:
        _CHECKED[key] = beartype(function)
    return _CHECKED[key]
