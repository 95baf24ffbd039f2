"""GAN on scikit-learn's digits (8x8, 17 levels), fully connected.

Command: gen-jax train experiments/configs/gan_digits.py
Hardware: 2 CPU cores, about a minute and a half
Judged by: gen-jax evaluate runs/gan_digits --distances runs/classifier_digits
Expected: kernel distance 0.03 ± 0.02 on test; equally many training images have 0.03 ± 0.02, independent pixels 0.10
"""

from gen_jax import GAN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.adversarial.gan import DenseDiscriminator, DenseGenerator
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """Adam with the settings of DCGAN."""
    return Experiment(
        model=GAN(
            image(8, 8, levels=17),
            latent=32,
            generator=DenseGenerator((256, 256)),
            discriminator=DenseDiscriminator((256, 256)),
        ),
        data=Data("digits"),
        optimizer=Adam(2e-4, b1=0.5),
        steps=10_000,
        batch_size=64,
        ema=0.999,
        evaluate=Evaluate(every=1000, batch_size=360),
    )
