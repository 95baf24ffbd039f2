"""FFJORD on six sets of points in the plane, with the exact trace; `gen-jax list` lists each of them.

Command: gen-jax data prepare moons; gen-jax train experiments/configs/ffjord_planar.py:ffjord_moons
Hardware: one CPU core, about six minutes

- ffjord_moons: FFJORD on two moons; the entropy of the distribution is 1.008 nats
- ffjord_circles: FFJORD on two circles
- ffjord_two_spirals: FFJORD on two spirals
- ffjord_pinwheel: FFJORD on five sheared arms
- ffjord_checkerboard: FFJORD on eight squares; the entropy of the distribution is log 8 = 2.079 nats
- ffjord_eight_gaussians: FFJORD on eight Gaussians on a circle
"""

from gen_jax import FFJORD, Solver
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

SETS = ("moons", "circles", "two_spirals", "pinwheel", "checkerboard", "eight_gaussians")
STEPS = 2500


def experiments() -> dict[str, Experiment]:
    """One for each set, by name."""
    return {f"ffjord_{name}": of(name) for name in SETS}


def of(name: str) -> Experiment:
    """One ODE whose velocity has three hidden layers, solved more coarsely in training.

    Steps whose gradient is not finite are skipped.
    """
    return Experiment(
        model=FFJORD(
            hidden=(64, 64, 64),
            solver=Solver("tsit5", 1e-5),
            train_solver=Solver("tsit5", 1e-3),
        ),
        data=Data(name),
        optimizer=Adam(WarmupCosine(5e-3, 50, STEPS), clip_norm=10.0),
        steps=STEPS,
        batch_size=128,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=1000, examples=2000),
        skip_above=1e4,
    )
