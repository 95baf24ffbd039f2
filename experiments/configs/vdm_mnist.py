"""VDM on MNIST (28x28, 256 levels).

Command: gen-jax train experiments/configs/vdm_mnist.py
Hardware: 2 CPU cores, about 15 minutes
Expected: <= 1.23 bits/dim on test, a bound in continuous time; `pixel_cnn_pp_mnist.py` has 1.125, exact
"""

from gen_jax import VDM, UNet, VDMSampler, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2000


def experiment() -> Experiment:
    """32 features, 4 + 5 blocks at one resolution, attention in the middle."""
    return Experiment(
        model=VDM(
            image(28, 28),
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
        data=Data("mnist"),
        optimizer=Adam(WarmupCosine(2e-3, 50, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=100, examples=200, draws=8, validation_draws=8),
    )
