"""Checks of a model's fields: each file in `models/` ends with a `check()` made of these, which `setup` calls first.

    def check(self) -> None:
        require_image(self.event, "pixel_cnn")
        require(self.depth >= 0, "pixel_cnn needs depth >= 0")

A text is formatted before its condition is tested, so it may use only what exists once the lines above have passed.
"""

from gen_jax.errors import InputError
from gen_jax.typing import Event, PRNGKey


def require(condition: bool, text: str) -> None:
    """InputError with this sentence if the condition is false."""
    if not condition:
        raise InputError(text)


def require_image(event: Event, model: str) -> None:
    """InputError if events are not images (H, W, C), of any kind of values; `model` begins the sentence."""
    require(len(event.shape) == 3, f"{model} is a model of images (H, W, C), not of {event.shape}")


def require_integers(event: Event, model: str) -> int:
    """The number of levels; InputError if events have real values."""
    if event.levels is None:
        raise InputError(f"{model} is a model of integers, the event has real values")
    return event.levels


def require_key(key: PRNGKey | None, model: str) -> PRNGKey:
    """The key that a bound or estimate by random draws needs; InputError without one."""
    if key is None:
        raise InputError(f"log_prob of {model} is a random bound or estimate and needs a key")
    return key
