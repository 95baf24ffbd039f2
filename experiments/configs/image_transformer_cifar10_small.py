"""Image Transformer on CIFAR-10 (32x32 colour, 256 levels), small enough for an hour on one core.

Command: gen-jax train experiments/configs/image_transformer_cifar10_small.py
Hardware: one CPU core, 56 minutes if the other is in use
Published: 2.90 bits/dim on test (Parmar et al. 2018, 1802.05751), with a network and a budget far larger
Expected: 3.670 bits/dim on validation (the last 5,000 training images), exact
"""

from gen_jax import ImageTransformer, Local2D, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 45_000


def experiment() -> Experiment:
    """A site is a pixel; tiles of 2x2 read two pixels around them. One epoch, one image a step, so no dropout.

    At this budget many small steps give fewer bits than few large ones."""
    return Experiment(
        model=ImageTransformer(
            image(32, 32, channels=3),
            Local2D(2, 2, above=2, side=2),
            mixtures=5,
            layers=4,
            features=64,
            heads=4,
            inner=128,
            dropout=0.0,
        ),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(2e-3, 200, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=1,
        ema=0.999,
        evaluate=Evaluate(every=5000, batch_size=100, examples=500),
    )
