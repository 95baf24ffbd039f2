"""DDPM on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 35,746,307 parameters.

Command: gen-jax train experiments/configs/ddpm_cifar10.py
Hardware: one accelerator, days; the authors' eight TPU v3 cores took 10.6 hours
Published: 3.75 bits/dim on test, a bound, for L_simple (Ho et al. 2020, 2006.11239, table 1; 3.70 trained on the bound)
Expected: <= 3.75 bits/dim; not run here

Trained with flips, as in the paper (appendix B). Deviations from github.com/hojonathanho/diffusion: 45,000 of the
50,000 training images; the decoder's normal CDF is exact (a tanh there); the embedding is of t in 1..1,000 (0..999
there); last layers start at 0 (1e-10 there); the norm is clipped over the whole batch (on each of eight cores there);
the average of the weights warms up. Each of the 1,000 terms of the bound costs a pass of the network, so validation
uses 500 images.
"""

from gen_jax import DDPM, Flip, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupConstant

STEPS, RATE = 800_000, 2e-4


def experiment() -> Experiment:
    """Batch 128, flips, dropout 0.1, beta from 1e-4 to 0.02, variance beta, constant rate after 5,000 steps."""
    return Experiment(
        model=DDPM(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(WarmupConstant(RATE, 5_000), eps=0.0, eps_hat=1e-8, clip_norm=1.0),
        steps=STEPS,
        batch_size=128,
        ema=0.9999,
        augment=(Flip(),),
        evaluate=Evaluate(every=20_000, batch_size=128, examples=500),
    )
