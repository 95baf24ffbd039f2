"""PixelCNN++ on CIFAR-10 (32x32 colour, 256 levels), small enough for a quarter of an hour on two cores.

Command: gen-jax train experiments/configs/pixel_cnn_pp_cifar10_small.py
Hardware: 2 CPU cores, about 15 minutes (34 minutes if shared)
Published: 2.92 bits/dim on test (Salimans et al. 2017, 1701.05517), with 165 times the parameters and 5 days
Expected: 3.717 bits/dim on validation (the last 5,000 training images), exact
"""

from gen_jax import PixelCNNPP, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 3800


def experiment() -> Experiment:
    """One residual network per stage, 24 features; little more than one epoch, so no dropout."""
    return Experiment(
        model=PixelCNNPP(
            image(32, 32, channels=3), features=24, resnets=1, mixtures=5, dropout=0.0
        ),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(3e-3, 100, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.995,
        evaluate=Evaluate(every=900, batch_size=100, examples=500),
    )
