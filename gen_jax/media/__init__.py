"""Media: what examples look like as files and in a report. A new one is a file here and its class in `MEDIA`."""

from gen_jax.evaluate.run import Run
from gen_jax.media.arrays import Arrays
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium
from gen_jax.media.text import Text

MEDIA: tuple[type[Medium], ...] = (Text, Images, Arrays)  # the first that fits


def medium_of(run: Run) -> Medium:
    """The medium of a run's examples, by the model's event and the data set's presentation."""
    event, presentation = run.experiment.model.event, run.presentation
    medium = next(medium for medium in MEDIA if medium.fits(event, presentation))
    return medium(event, presentation)
