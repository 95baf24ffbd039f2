"""Glow of points on two moons (2-D points, noise 0.1).

Command: gen-jax data prepare moons; gen-jax train experiments/configs/glow_moons.py
Hardware: 2 CPU cores, about a minute
Expected: not run here; the entropy of the distribution is 1.008 nats
"""

from gen_jax import PointGlow
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """Eight steps with the networks of real_nvp_moons; the entropy of the moons is the lower limit."""
    return Experiment(
        model=PointGlow(depth=8, hidden=(64, 64)),
        data=Data("moons"),
        optimizer=Adam(WarmupCosine(3e-3, 100, STEPS), clip_norm=10.0),
        steps=STEPS,
        batch_size=256,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=1000),
    )
