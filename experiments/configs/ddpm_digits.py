"""DDPM on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/ddpm_digits.py
Hardware: one CPU core, about six minutes
Expected: <= 1.91 bits/dim on test, a bound; independent pixels need 2.41
"""

from gen_jax import DDPM, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.diffusion.ddpm import LinearSchedule
from gen_jax.nn.unet import UNet
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2000


def experiment() -> Experiment:
    """Two resolutions, 32 and 64 features, attention at 4x4; 200 times, learned variance.

    The first noise is about a third of the distance between two levels: the decoder integrates over finer detail, so
    the network need not learn the levels themselves. A validation is 200 passes over 120 images.
    """
    return Experiment(
        model=DDPM(
            image(8, 8, levels=17),
            network=UNet(features=32, multipliers=(1, 2), blocks=1, attention=(4,), groups=8),
            timesteps=200,
            schedule=LinearSchedule(2e-3, 0.1),
            variance="learned",
            objective="hybrid",
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(2e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=64,
        ema=0.99,
        evaluate=Evaluate(every=1000, batch_size=120, examples=120),
    )
