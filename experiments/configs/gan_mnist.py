"""DCGAN on MNIST (28x28, 256 levels).

Command: gen-jax train experiments/configs/gan_mnist.py
Hardware: 2 CPU cores, some minutes
Judged by: gen-jax evaluate runs/gan_mnist --distances runs/classifier_mnist
Published: Adam 2e-4 with b1 0.5, batch 128, leaky slope 0.2, N(0, 0.02^2) weights; no number on MNIST
"""

from gen_jax import GAN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.adversarial.gan import ConvDiscriminator, ConvGenerator
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """Half the paper's batch size, few filters, and two layers of stride 2 for images of 28x28."""
    return Experiment(
        model=GAN(
            image(28, 28),
            latent=100,
            generator=ConvGenerator((64, 32)),
            discriminator=ConvDiscriminator((32, 64)),
        ),
        data=Data("mnist"),
        optimizer=Adam(2e-4, b1=0.5),
        steps=4000,
        batch_size=64,
        ema=0.999,
        evaluate=Evaluate(every=500, batch_size=500, examples=1000),
    )
