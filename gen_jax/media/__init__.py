"""Media: how examples look as files and in a report. A new medium is a file here and its class in `MEDIA`."""

from collections.abc import Mapping
from typing import Any

from gen_jax.media.arrays import Arrays
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium
from gen_jax.media.points import Points
from gen_jax.media.sound import Sound
from gen_jax.media.text import Text
from gen_jax.typing import Event

MEDIA: tuple[type[Medium], ...] = (Text, Sound, Images, Points, Arrays)  # the first that fits


def medium_of(event: Event, presentation: Mapping[str, Any]) -> Medium:
    """The medium of examples, according to their event and the data set's presentation."""
    medium = next(medium for medium in MEDIA if medium.fits(event, presentation))
    return medium(event, presentation)
