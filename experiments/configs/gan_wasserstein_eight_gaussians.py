"""WGAN-GP on eight Gaussians (2-D points), fully connected.

Command: gen-jax data prepare eight_gaussians; gen-jax train experiments/configs/gan_wasserstein_eight_gaussians.py
Hardware: 2 CPU cores, about a minute
Judged by: gen-jax report runs/gan_wasserstein_eight_gaussians --out gan.html
Expected: 8 of 8 modes found, 91 to 93 % of the points in a mode (one seed, two machines)
Published: Adam 1e-4 with b1 0 and b2 0.9, penalty 10, five steps of the critic for one of the generator
"""

from gen_jax import GAN, points
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.adversarial.gan import DenseDiscriminator, DenseGenerator
from gen_jax.optimizer import Adam, OptimizerGroups


def experiment() -> Experiment:
    """The paper's settings, but a penalty of 0.1 as in its experiments with points, and ten times its learning rate."""
    adam = Adam(1e-3, b1=0.0, b2=0.9)
    return Experiment(
        model=GAN(
            points(),
            latent=8,
            generator=DenseGenerator((128, 128)),
            discriminator=DenseDiscriminator((128, 128)),
            gradient_penalty=0.1,
        ),
        data=Data("eight_gaussians"),
        optimizer=OptimizerGroups(("generator", "discriminator"), (adam, adam), every=(5, 1)),
        steps=10_000,
        batch_size=256,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=1000, examples=1000),
    )
