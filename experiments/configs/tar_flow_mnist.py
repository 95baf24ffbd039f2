"""TarFlow on MNIST (28x28, 256 levels), small enough for a quarter of an hour on two cores.

Command: gen-jax train experiments/configs/tar_flow_mnist.py
Hardware: 2 CPU cores, about 15 minutes
Published: none for TarFlow; 0.97 bits/dim, Residual Flow, a bound (Chen et al. 2019, 1906.02735)
Expected: a bound with 20 draws; not run here
"""

from gen_jax import TarFlow, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """Four maps of 2x2 patches, two layers in each; less than one epoch, so no dropout."""
    return Experiment(
        model=TarFlow(image(28, 28), blocks=4, layers=2, features=64, heads=2),
        data=Data("mnist"),
        optimizer=Adam(WarmupCosine(2e-3, 100, STEPS), b2=0.95, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.995,
        evaluate=Evaluate(every=500, batch_size=100, examples=500, draws=20, validation_draws=1),
    )
