"""Image Transformer on the greys of CIFAR-10 (32x32, 256 levels), small enough for 20 minutes on one core.

Command: gen-jax train experiments/configs/image_transformer_cifar10_grey_small.py
Hardware: one CPU core, half an hour beside other work
Data: the luma of CIFAR-10, by the lines under Greys in docs/data.md
Expected: 5.034 bits/dim on validation (the last 5,000 training images), exact
"""

from gen_jax import ImageTransformer, Local2D, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 12_000


def experiment() -> Experiment:
    """A site is a pixel; tiles of 2x2 read two pixels around them. A quarter of an epoch, so no dropout."""
    return Experiment(
        model=ImageTransformer(
            image(32, 32, channels=1),
            Local2D(2, 2, above=2, side=2),
            mixtures=5,
            layers=4,
            features=64,
            heads=4,
            inner=128,
            dropout=0.0,
        ),
        data=Data("cifar10_grey"),
        optimizer=Adam(WarmupCosine(2e-3, 200, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=1,
        ema=0.999,
        evaluate=Evaluate(every=3000, batch_size=100, examples=500),
    )
