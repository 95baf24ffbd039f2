"""IWAE with 50 draws on dynamically binarised MNIST: the network of the paper, a schedule for an hour.

Command: gen-jax train experiments/configs/iwae_dynamic_mnist_small.py
Then: gen-jax evaluate runs/iwae_dynamic_mnist_small
Hardware: one CPU core, 43 minutes
Published: 84.78 nats, 5,000 draws, on randomly binarised test images (1509.00519, table 1; 3,280 epochs of 59,600)
Expected: <= 89.23 nats on test, a bound of 5,000 draws, after 52 epochs
"""

from gen_jax import IWAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 130_000


def experiment() -> Experiment:
    """A cosine from 1e-3 instead of eight stages."""
    return Experiment(
        model=IWAE(image(28, 28, levels=2), latent=50, draws=50),
        data=Data("dynamic_mnist"),
        optimizer=Adam(WarmupCosine(1e-3, 500, STEPS), eps=1e-4),
        steps=STEPS,
        batch_size=20,
        evaluate=Evaluate(
            every=5000,
            batch_size=100,
            examples=2000,
            data=Data("binarized_mnist"),
            draws=5000,
            validation_draws=50,
        ),
    )
