"""The interface of a medium: files for samples, how many are drawn, and how they look in a report."""

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
    """How examples of an event are shown, data or samples; `presentation` comes from the data set.

    A subclass defines `fits`, `figure` and whatever else it supports. Any examples can also be written as .npz
    (`arrays.encoded`).
    """

    event: Event
    presentation: Mapping[str, Any]

    endings: ClassVar[tuple[str, ...]] = ()  # file name endings for `encoded`
    num: ClassVar[int] = 64  # default number of samples of `gen-jax sample`
    num_in_report: ClassVar[int] = 64  # samples at each temperature
    temperatures: ClassVar[tuple[float, ...]] = (1.0,)  # in the report
    length: ClassVar[int | None] = None  # length of a sampled sequence; None: as in the data set
    printed: ClassVar[bool] = False  # whether `sample` without a file prints `text`

    @classmethod
    @abstractmethod
    def fits(cls, event: Event, presentation: Mapping[str, Any]) -> bool:
        """Whether examples of the event with this presentation belong to this medium."""

    def encoded(self, x: Num[ndarray, "N *event"]) -> bytes:
        """All examples as the content of one file, for media that have endings."""
        raise TypeError(f"{type(self).__name__} has no file format")

    def rows(self, x: Num[ndarray, "N K *event"]) -> bytes:
        """N rows of K examples that belong together, as the content of one file: here one after the other."""
        return self.encoded(x.reshape(-1, *x.shape[2:]))

    def check_each(self) -> None:
        """InputError if an example by itself is no file (`each`)."""
        raise InputError(
            "--out FOLDER/ writes a file for each example: for images of at most 256 levels, sounds and texts"
        )

    def each(self, x: Num[ndarray, " *event"]) -> bytes:
        """One example as the content of a file with the first of the endings."""
        return self.encoded(x[None])

    @abstractmethod
    def figure(self, x: Num[ndarray, "N *event"]) -> Markup:
        """The examples as HTML that needs no other file; text in it is escaped (`media/html.py`)."""

    def text(self, x: Num[ndarray, "N *event"]) -> str:
        """All examples as one text, for media that are printed."""
        raise TypeError(f"{type(self).__name__} has no text")

    def prompt(self, text: str) -> list[int]:
        """The values of a prompt; InputError if the medium takes none."""
        raise InputError("--prompt is only for models of text")
