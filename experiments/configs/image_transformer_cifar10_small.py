"""Image Transformer on CIFAR-10 (32x32 colour, 256 levels), small enough for half an hour on two cores.

Command: gen-jax train experiments/configs/image_transformer_cifar10_small.py
Hardware: 2 CPU cores, about half an hour
Published: 2.90 bits/dim on test (Parmar et al. 2018, 1802.05751), with a network and a budget far larger
Expected: <= 4.3 bits/dim on validation (the last 5,000 training images), exact; not run yet
"""

from gen_jax import ImageTransformer, Local2D, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 3600


def experiment() -> Experiment:
    """A site is a pixel: tiles of 4x4 read 4 rows above and 4 columns on each side; one epoch, so no dropout."""
    return Experiment(
        model=ImageTransformer(
            image(32, 32, channels=3),
            Local2D(4, 4, above=4, side=4),
            mixtures=5,
            layers=4,
            features=64,
            heads=2,
            inner=128,
            dropout=0.0,
        ),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(2e-3, 200, STEPS), b2=0.98, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.995,
        evaluate=Evaluate(every=900, batch_size=100, examples=500),
    )
