"""What a medium says: the files that samples go into, how many are drawn, and how they look in a report."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Num
from markupsafe import Markup
from numpy import ndarray

from gen_jax.errors import InputError
from gen_jax.typing import Event

Section = tuple[str, Markup]  # title and HTML


@dataclass(frozen=True)
class Medium(ABC):
    """How examples of an event are shown, whatever drew them; `presentation` is what the data set says about that.

    A subclass defines `fits`, `figure` and what it has beside. Any examples go into .npz files too (`arrays.encoded`).
    """

    event: Event
    presentation: Mapping[str, Any]

    endings: ClassVar[tuple[str, ...]] = ()  # of the files that `encoded` makes
    num: ClassVar[int] = 64  # draws of `sample`, unless told otherwise
    num_in_report: ClassVar[int] = 64  # at each temperature
    temperatures: ClassVar[tuple[float, ...]] = (1.0,)  # in the report
    length: ClassVar[int | None] = None  # values of a drawn sequence; None: as in the data set
    printed: ClassVar[bool] = False  # `sample` needs no file: it prints `text`

    @classmethod
    @abstractmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Whether examples of the event, presented so, are of this medium."""

    def encoded(self, x: Num[ndarray, "N *event"]) -> bytes:
        """All examples as the content of one file, for media that have endings."""
        raise TypeError(f"{type(self).__name__} has no files of its own")

    @abstractmethod
    def figure(self, x: Num[ndarray, "N *event"]) -> Markup:
        """The examples as HTML that needs no other file; texts in it are escaped (`media/html.py`)."""

    def text(self, x: Num[ndarray, "N *event"]) -> str:
        """All examples in one text, for media that are printed."""
        raise TypeError(f"{type(self).__name__} has no text")

    def prompt(self, text: str) -> list[int]:
        """The values that stand for a prompt; InputError where there are none."""
        raise InputError("--prompt is for models of text, this is none")
