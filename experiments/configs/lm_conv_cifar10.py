"""LMConv on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 46,072,360 parameters.

Command: gen-jax train experiments/configs/lm_conv_cifar10.py
Hardware: one accelerator
Published: 2.909 bits/dim on test in one order, 2.887 averaged over eight (Jain, Abbeel and Pathak 2020, 2006.12486)
Expected: 2.909 bits/dim, exact; not run here

Deviations from github.com/ajayjain/lmconv: 45,000 of the 50,000 training images, the rest being validation; biases of
convolutions begin at zero; 1x1 maps are initialised on data; weights are averaged over steps (there over checkpoints).
"""

from gen_jax import LMConv, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, ExponentialDecay

EPOCH = 45_000 // 32


def experiment() -> Experiment:
    """Batch 32, no dropout, one of eight S-curves a step; gradients of the batch's nats, clipped at a norm of 2e6.

    Their number of epochs is not published.
    """
    return Experiment(
        model=LMConv(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(ExponentialDecay(2e-4, 0.999995), clip_norm=2e6, unit="batch"),
        steps=300 * EPOCH,
        batch_size=32,
        ema=0.9995,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
