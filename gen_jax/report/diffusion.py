"""The report's sections for a diffusion: examples to noise, noise to samples, samples by number of steps."""

from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from gen_jax.data.batches import spread
from gen_jax.data.prepared import Split
from gen_jax.density import Chain, fold_in, root_key
from gen_jax.evaluate import draw, noising
from gen_jax.media import html
from gen_jax.media.images import Images
from gen_jax.media.medium import Medium, Section
from gen_jax.media.points import SHOWN, Points
from gen_jax.report.points import panels
from gen_jax.runs.run import Trained

# Examples on their way, times of each, samples of each number of steps.
EXAMPLES, TIMES, COLUMNS = 3, 9, 12
STEPS = (5, 10, 25, 50)  # besides all
Drawn = Images | Points


def sections(medium: Medium, run: Trained, split: Split) -> Iterator[Section]:
    """Both ways and samples by number of steps, of images or points; nothing for other models."""
    if not isinstance(run.experiment.model, Chain) or not isinstance(medium, Drawn):
        return
    yield "To noise and back", ways(medium, run, split)
    yield "Samples by number of steps", by_steps(medium, run)


def ways(medium: Drawn, run: Trained, split: Split) -> Markup:
    """Examples on their way to noise; noise on its way to samples, with the x_0 that the network infers."""
    model = run.experiment.model
    times = shown_times(noising.steps_of(model))
    count = SHOWN if isinstance(medium, Points) else EXAMPLES
    x, key = split.x[spread(len(split), count)], fold_in(root_key(0), "way")
    noised = noising.noised(run, x, times)
    way = noising.denoised(run, len(x), times[::-1], key, draw.labels_for(run, len(x), None))
    named = f"t = {', '.join(map(str, times))}"
    back = f"t = {', '.join(map(str, times[::-1]))}"
    shown = html.paragraph(
        f"{split.split.capitalize()} examples x_0 and x_t at {named}, with the same noise at all t."
    )
    shown += _strip(medium, noised, [f"t = {t}" for t in times])
    if isinstance(medium, Points):
        words = f"Noise on its way to samples, at {back}; then the x_0 that the network infers at these t."
        parts = [_strip(medium, part, [f"t = {t}" for t in times[::-1]]) for part in way]
        return shown + html.paragraph(words) + parts[0] + parts[1]
    words = f"Noise on its way to samples, at {back}. Below each is the x_0 that the network infers at these t."
    rows = np.stack(way, axis=1)  # times, both, examples
    rows = rows.transpose(2, 1, 0, *range(3, rows.ndim)).reshape(-1, *model.event.shape)
    alt = "Noise on its way to samples, and the inferred images below"
    return shown + html.paragraph(words) + medium.figure(rows, columns=len(times), alt=alt)


def by_steps(medium: Drawn, run: Trained) -> Markup:
    """Samples by DDIM without noise in few steps and in all, from the same noise."""
    every = noising.steps_of(run.experiment.model)
    numbers = [*(steps for steps in STEPS if steps < every), every]
    count = SHOWN if isinstance(medium, Points) else COLUMNS
    key, cond = fold_in(root_key(0), "steps"), draw.labels_for(run, count, None)
    drawn = np.stack(
        [
            noising.denoised(run, count, (0,), key, cond, steps=steps, eta=0.0).states[0]
            for steps in numbers
        ]
    )
    listed = ", ".join(map(str, numbers))
    words = f"From the same noise by DDIM steps without added noise: {listed} steps"
    if isinstance(medium, Points):
        return html.paragraph(f"{words}.") + _strip(medium, drawn, [f"{k} steps" for k in numbers])
    rows = drawn.reshape(-1, *drawn.shape[2:])
    alt = "Samples, a row for each number of steps"
    return html.paragraph(f"{words}, a row each.") + medium.figure(rows, columns=count, alt=alt)


def shown_times(steps: int) -> list[int]:
    """Times from 0 to `steps`, evenly spread."""
    return [int(t) for t in np.unique(np.round(np.linspace(0, steps, TIMES)))]


def _strip(medium: Drawn, states: np.ndarray, titles: Sequence[str]) -> Markup:
    """A row for each image with a column for each state, or a panel for each state of all points."""
    if isinstance(medium, Points):
        alt = f"Clouds of points: {', '.join(titles)}"
        return html.plot(panels(list(states), titles, states[0]), alt)
    rows = np.moveaxis(states, 0, 1)
    flat = rows.reshape(-1, *states.shape[2:])
    return medium.figure(flat, columns=len(states), alt="Images on their way to noise")
