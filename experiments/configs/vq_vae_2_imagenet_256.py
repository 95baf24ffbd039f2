"""VQ-VAE-2 on ImageNet at 256x256 colour (your copy): 32x32 top codes and 64x64 bottom codes, each of 512.

Command: gen-jax data import imagenet_256 imagenet_256/; gen-jax train experiments/configs/vq_vae_2_imagenet_256.py
Hardware: 8 accelerators, some days
Published: no likelihood of images, whose decoder is trained on squared errors (Razavi et al. 2019, 1906.00446)
Expected: the first stage of vq_vae_2_prior_imagenet_256; not run here

2,454,372 parameters. Appendix A: 128 features, two residual blocks with 64 hidden features on each way, K = 512,
vectors of 64 numbers, commitment 0.25, batch 128, 2,207,444 steps. Here x has a mixture of ten logistics for each pixel
instead of squared errors, which adds outputs to the last layer; windows are 4x4 on both ways; codes restart.
"""

from gen_jax import VQVAE2, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """Two halvings to the bottom grid and one more to the top grid."""
    return Experiment(
        model=VQVAE2(
            image(256, 256, channels=3),
            strided=(128, 128),
            top=(128,),
            residual=64,
            codes=512,
            size=64,
            mixtures=10,
            restart=0.01,
        ),
        data=Data("imagenet_256"),
        optimizer=Adam(3e-4),
        steps=2_207_444,
        batch_size=128,
        ema=0.9999,
        evaluate=Evaluate(every=10_000, batch_size=64, examples=5000),
    )
