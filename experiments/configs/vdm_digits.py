"""VDM on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/vdm_digits.py
Hardware: one CPU core, about a quarter of an hour
Expected: <= 1.86 bits/dim on test, a bound in continuous time with 64 draws; independent pixels need 2.41
"""

from gen_jax import VDM, LinearGamma, UNet, VDMSampler, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """32 features, 4 + 5 blocks at one resolution; gamma(0) starts noisier than the paper's, for fewer levels."""
    return Experiment(
        model=VDM(
            image(8, 8, levels=17),
            network=UNet(
                features=32,
                multipliers=(1,),
                blocks=4,
                attention=(),
                groups=8,
                dropout=0.0,
                zero_time=True,
            ),
            schedule=LinearGamma(-6.9, 5.0),
            fourier=(2, 3),
            sampler=VDMSampler(200),
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(4e-3, 50, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=750, batch_size=120, examples=120, draws=64, validation_draws=32),
    )
