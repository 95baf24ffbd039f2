"""GAN on eight Gaussians (2-D points), fully connected.

Command: gen-jax data prepare eight_gaussians; gen-jax train experiments/configs/gan_eight_gaussians.py
Hardware: 2 CPU cores, about a minute
Judged by: gen-jax report runs/gan_eight_gaussians --out gan.html
Expected: 7 of 8 modes found, 92 % of the points in a mode (one seed)
"""

from gen_jax import GAN, points
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.adversarial.gan import DenseDiscriminator, DenseGenerator
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """Adam with the settings of DCGAN; `gan_wasserstein_eight_gaussians` has the same networks."""
    return Experiment(
        model=GAN(
            points(),
            latent=8,
            generator=DenseGenerator((128, 128)),
            discriminator=DenseDiscriminator((128, 128)),
        ),
        data=Data("eight_gaussians"),
        optimizer=Adam(2e-4, b1=0.5),
        steps=10_000,
        batch_size=256,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=1000, examples=1000),
    )
