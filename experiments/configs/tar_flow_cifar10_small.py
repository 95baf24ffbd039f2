"""TarFlow on CIFAR-10 (32x32 colour, 256 levels), small enough for half an hour on two cores; a size of our own.

Command: gen-jax train experiments/configs/tar_flow_cifar10_small.py
Hardware: 2 CPU cores, about half an hour
Published: none for TarFlow, whose paper has no CIFAR-10; 3.49 bits/dim, RealNVP (Dinh et al. 2016, 1605.08803)
Expected: a bound with 4 draws on validation (the last 5,000 training images); not run here
"""

from gen_jax import TarFlow, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 5000


def experiment() -> Experiment:
    """Four maps of 2x2 patches, two layers of 96 features in each; less than one epoch, so no dropout."""
    return Experiment(
        model=TarFlow(image(32, 32, channels=3), blocks=4, layers=2, features=96, heads=3),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(1e-3, 200, STEPS), b2=0.95, clip_norm=1.0),
        steps=STEPS,
        batch_size=8,
        ema=0.999,
        evaluate=Evaluate(every=1000, batch_size=50, examples=500, draws=4, validation_draws=1),
    )
