"""PixelCNN pyramid of 2x2, 4x4 and 8x8 pixels, parts of each other, on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/pixel_cnn_pyramid_digits.py
Hardware: 2 CPU cores, about four minutes
Expected: 1.786 bits/dim on test, exact; independent pixels need 2.41

With `--set model.view=average` each coarser pixel is a mean, as in the paper, and the number is a bound.
"""

from gen_jax import GatedPixelCNN, MapReader, PixelCNNPP, PixelCNNPyramid, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1800


def experiment() -> Experiment:
    """A gated PixelCNN of four pixels; twice PixelCNN++ given the image before, with as many resolutions as fit."""
    small, middle, event = (image(side, side, levels=17) for side in (2, 4, 8))
    sizes = {"features": 24, "resnets": 1, "dropout": 0.4}
    readers = [MapReader(features=24, resnets=1, resolutions=count) for count in (2, 3)]
    return Experiment(
        model=PixelCNNPyramid(
            event,
            networks=(
                GatedPixelCNN(small, depth=2, features=24, first_kernel=3, head_features=24),
                PixelCNNPP(middle, resolutions=2, maps=(small,), reader=readers[0], **sizes),
                PixelCNNPP(event, maps=(middle,), reader=readers[1], **sizes),
            ),
            view="subsample",
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )
