"""VAE on dynamically binarised MNIST: the network of the paper, a schedule for an hour on two cores.

Command: gen-jax train experiments/configs/vae_dynamic_mnist_small.py
Then: gen-jax evaluate runs/vae_dynamic_mnist_small
Hardware: 2 CPU cores, about three quarters of an hour
Published: 86.76 nats, 5,000 draws, on randomly binarised test images (1509.00519, table 1; 3,280 epochs of 59,600)
Expected: <= 88.80 nats on test, a bound of 5,000 draws, after 600 epochs
"""

from gen_jax import VAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 300_000


def experiment() -> Experiment:
    """A cosine schedule from 1e-3 instead of eight stages."""
    return Experiment(
        model=VAE(image(28, 28, levels=2), latent=50),
        data=Data("dynamic_mnist"),
        optimizer=Adam(WarmupCosine(1e-3, 500, STEPS), eps=1e-4),
        steps=STEPS,
        batch_size=100,
        evaluate=Evaluate(
            every=5000,
            batch_size=100,
            examples=2000,
            data=Data("binarized_mnist"),
            draws=5000,
            validation_draws=50,
        ),
    )
