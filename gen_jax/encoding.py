# Methods of protocols have no body.
# pyright: reportReturnType=false
"""The protocols of models that encode events, which commands and the report ask for by `isinstance`."""

from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Array

from gen_jax.conditions import Cond
from gen_jax.typing import Event, PRNGKey

Interpolation = Literal["spherical", "linear", "none"]


@runtime_checkable
class Reconstructing(Protocol):
    """A model that can reconstruct x from a code."""

    def reconstruct(self, x: Array, key: PRNGKey, cond: Cond = None) -> Array:
        """x, reconstructed from its code."""


@runtime_checkable
class Interpolating(Protocol):
    """A model with latents of x, in which a path leads from one event to another.

    interpolation: spherical if the latents are standard normal under the model, else linear; none if they are discrete.
    """

    interpolation: Interpolation

    def latents_of(self, x: Array, cond: Cond = None) -> Any:
        """The latents of x, or the mode of their distribution: an array (B, ...) or several."""

    def event_at(self, latents: Any, key: PRNGKey, cond: Cond = None) -> Array:
        """The event at these latents; `event_at(latents_of(x), key)` is `reconstruct(x, key)`, or x for a bijection."""


@runtime_checkable
class Coded(Protocol):
    """A model with discrete codes of x, from one codebook or several.

    codebooks: the event of the codes of each by name, of shape (*places, groups) or (places,).
    """

    codebooks: dict[str, Event]

    def codes_of(self, x: Array) -> dict[str, Array]:
        """The codes of x by name, a batch of each event."""
