"""DDPM on six sets of points in the plane, 200 times; `gen-jax list` lists each of them.

Command: gen-jax data prepare moons; gen-jax train experiments/configs/ddpm_planar.py:ddpm_moons
Hardware: one CPU core, about two minutes
Judged by: gen-jax evaluate runs/ddpm_moons --ode

- ddpm_moons: DDPM on two moons; the entropy of the distribution is 1.008 nats
- ddpm_circles: DDPM on two circles
- ddpm_two_spirals: DDPM on two spirals
- ddpm_pinwheel: DDPM on five sheared arms
- ddpm_checkerboard: DDPM on eight squares; the entropy of the distribution is log 8 = 2.079 nats
- ddpm_eight_gaussians: DDPM on eight Gaussians on a circle
"""

from gen_jax import DDPM, points
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.diffusion.ddpm import LinearSchedule
from gen_jax.nn.time_dense import TimeDense
from gen_jax.optimizer import Adam, WarmupCosine

SETS = ("moons", "circles", "two_spirals", "pinwheel", "checkerboard", "eight_gaussians")
STEPS = 5000


def experiments() -> dict[str, Experiment]:
    """One for each set, by name."""
    return {f"ddpm_{name}": of(name) for name in SETS}


def of(name: str) -> Experiment:
    """A dense network; the simple objective."""
    return Experiment(
        model=DDPM(points(), TimeDense(128, 3), timesteps=200, schedule=LinearSchedule(5e-4, 0.1)),
        data=Data(name),
        optimizer=Adam(WarmupCosine(2e-3, 100, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=256,
        ema=0.99,
        evaluate=Evaluate(every=1000, batch_size=1000, examples=1000),
    )
