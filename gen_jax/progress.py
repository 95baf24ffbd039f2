"""Progress bars on standard error while a command runs in a terminal; from Python, and in a pipe, there are none.

Library code marks its long loops with `bar` or `counted`; only a command makes them visible (`shown`). The bars of a
loop inside another are shown together. Between bars nothing is on the screen, so that results print as always.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
Advance = Callable[[int], None]

_visible = False
_screen: Any = None  # rich's display, while there is a bar


@contextlib.contextmanager
def shown(wanted: bool = True) -> Iterator[None]:
    """Inside the block bars are visible, if that is `wanted` and standard error is a terminal."""
    global _visible
    _visible = wanted and sys.stderr.isatty()
    try:
        yield
    finally:
        _visible = False
        _close()


@contextlib.contextmanager
def bar(label: str, total: int | None) -> Iterator[Advance]:
    """A bar that is moved by calling its value with the number of parts that are done."""
    if not _visible:
        yield lambda parts: None
        return
    screen = _opened()
    task = screen.add_task(label, total=total)
    try:
        yield lambda parts: screen.update(task, advance=parts)
    finally:
        screen.remove_task(task)
        if not screen.tasks:
            _close()


def counted(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items, one after the other, with a bar; `total` is their number if they have no length."""
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # pyright: ignore[reportArgumentType]
    with bar(label, total) as advance:
        for item in items:
            yield item
            advance(1)


def _opened() -> Any:
    global _screen
    if _screen is None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        _screen = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        _screen.start()
    return _screen


def _close() -> None:
    global _screen
    if _screen is not None:
        _screen.stop()
        _screen = None
