"""PixelCNN with an auxiliary image of 4 levels, on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/pixel_cnn_gray_digits.py
Hardware: 2 CPU cores, about three minutes
Expected: <= 1.883 bits/dim on test, a bound; pixel_cnn_pp_digits, one part by the same network, 1.766

The log has the two parts in nats, `grey` and `image`: how the bits split.
"""

from gen_jax import MapReader, PixelCNNGray, PixelCNNPP, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1100


def experiment() -> Experiment:
    """Each part is the network of pixel_cnn_pp_digits, the first with a softmax; the second reads the first's image."""
    view, event = image(8, 8, levels=4), image(8, 8, levels=17)
    sizes = {"features": 24, "resnets": 1, "dropout": 0.4}
    reader = MapReader(features=24, resnets=1, embedding=8, dropout=0.4)
    return Experiment(
        model=PixelCNNGray(
            event,
            networks=(
                PixelCNNPP(view, mixtures=None, **sizes),
                PixelCNNPP(event, maps=(view,), reader=reader, **sizes),
            ),
            levels=4,
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )
