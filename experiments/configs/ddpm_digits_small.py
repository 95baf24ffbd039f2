"""DDPM of ten steps on scikit-learn's digits (8x8, 17 levels), for lossless compression by bits-back coding.

Command: gen-jax train experiments/configs/ddpm_digits_small.py
Hardware: one CPU core, about five minutes
Expected: <= 2.24 bits/dim on test, a bound; the file of all test images is 1.3 % above it, but for initial bits
"""

from gen_jax import DDPM, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.diffusion.ddpm import LinearSchedule
from gen_jax.nn.unet import UNet
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1000


def experiment() -> Experiment:
    """The network of `ddpm_digits`, trained on the bound, since the terms of so few steps differ much in size."""
    return Experiment(
        model=DDPM(
            image(8, 8, levels=17),
            network=UNet(features=32, multipliers=(1, 2), blocks=1, attention=(4,), groups=8),
            timesteps=10,
            schedule=LinearSchedule(2e-3, 0.9),
            variance="learned",
            objective="bound",
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(2e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=64,
        ema=0.99,
        evaluate=Evaluate(every=250, batch_size=120, examples=120),
    )
