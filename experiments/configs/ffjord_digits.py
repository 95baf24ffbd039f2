"""FFJORD on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/ffjord_digits.py
Hardware: one CPU core, about four minutes
Expected: ~ 2.25 bits/dim on test, an estimate (tsit5, 1e-5, hutchinson, 20 draws); independent pixels need 2.41
"""

from gen_jax import ImageFFJORD, Solver, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1200


def experiment() -> Experiment:
    """One ODE at one scale with dense layers: in this time convolutions are further away.

    Training solves more coarsely. Steps whose gradient is not finite are skipped.
    """
    return Experiment(
        model=ImageFFJORD(
            image(8, 8, levels=17),
            hidden=(96, 96),
            dense=True,
            normalise=True,
            solver=Solver("tsit5", 1e-5, trace="hutchinson"),
            train_solver=Solver("bosh3", 1e-3, trace="hutchinson"),
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 20, STEPS), clip_norm=10.0),
        steps=STEPS,
        batch_size=64,
        ema=0.99,
        evaluate=Evaluate(every=200, batch_size=180, draws=20),
        skip_above=1e4,
    )
