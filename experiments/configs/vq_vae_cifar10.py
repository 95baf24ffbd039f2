"""VQ-VAE on CIFAR-10 (32x32 colour, 256 levels): 8x8x10 codes of 512.

Command: gen-jax train experiments/configs/vq_vae_cifar10.py
Hardware: one accelerator, about a day
Published: 4.67 bits/dim, a bound (van den Oord et al. 2017, 1711.00937, section 4.1, which does not say which prior)
Expected: the first stage of vq_vae_prior_cifar10; not run here

7,405,540 parameters. Section 4.1 gives the strided and residual layers of 256 units, Adam 2e-4, batch 128 and 250,000
steps. It varies the number of codes and K without saying which gave 4.67, and describes neither p(x | z) nor the split.
Our choices: K = 512 (from section 4.2, for ImageNet), ten codes at each of 8x8 places, a mixture of ten logistics; a
3x3 convolution before the residual blocks and a 1x1 after them (as in Sonnet's example); restarted codes; validation on
5,000 training images.
"""

from gen_jax import VQVAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """Each of the ten codes of a place has 64 outputs of the encoder; all codes share one codebook."""
    return Experiment(
        model=VQVAE(
            image(32, 32, channels=3),
            strided=(256, 256),
            residual=256,
            codes=512,
            groups=10,
            mixtures=10,
            restart=0.01,
        ),
        data=Data("cifar10"),
        optimizer=Adam(2e-4),
        steps=250_000,
        batch_size=128,
        ema=0.99,
        evaluate=Evaluate(every=5000, batch_size=128),
    )
