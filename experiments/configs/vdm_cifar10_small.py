"""VDM on CIFAR-10 (32x32 colour, 256 levels), small enough for half an hour on two cores.

Command: gen-jax train experiments/configs/vdm_cifar10_small.py
Hardware: 2 CPU cores, about half an hour
Published: 2.65 bits/dim on test (Kingma et al. 2021, 2107.00630), with 90 times the parameters and ten million steps
Expected: <= 3.78 bits/dim on validation, a bound of 2 draws
"""

from gen_jax import VDM, UNet, VDMSampler, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2000


def experiment() -> Experiment:
    """32 features, 4 + 5 blocks at one resolution, attention in the middle; less than an epoch, no dropout."""
    return Experiment(
        model=VDM(
            image(32, 32, channels=3),
            network=UNet(
                features=32,
                multipliers=(1,),
                blocks=4,
                attention=(),
                groups=8,
                dropout=0.0,
                zero_time=True,
            ),
            sampler=VDMSampler(250),
        ),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(2e-3, 50, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=100, examples=200, draws=8, validation_draws=8),
    )
