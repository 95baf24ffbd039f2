"""GAN on two moons (2-D points, noise 0.1), fully connected.

Command: gen-jax data prepare moons; gen-jax train experiments/configs/gan_moons.py
Hardware: 2 CPU cores, about a minute
"""

from gen_jax import GAN, points
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.adversarial.gan import DenseDiscriminator, DenseGenerator
from gen_jax.optimizer import Adam, OptimizerGroups


def experiment() -> Experiment:
    """The discriminator learns twice as fast as the generator (Heusel et al. 2017, 1706.08500)."""
    return Experiment(
        model=GAN(
            points(),
            latent=8,
            generator=DenseGenerator((128, 128)),
            discriminator=DenseDiscriminator((128, 128)),
        ),
        data=Data("moons"),
        optimizer=OptimizerGroups(
            ("generator", "discriminator"), (Adam(2e-4, b1=0.5), Adam(4e-4, b1=0.5))
        ),
        steps=8000,
        batch_size=256,
        ema=0.999,
        evaluate=Evaluate(every=1000, batch_size=1000, examples=1000),
    )
