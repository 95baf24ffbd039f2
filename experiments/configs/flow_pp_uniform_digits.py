"""Flow++ on scikit-learn's digits (8x8, 17 levels), with uniform noise.

Command: gen-jax train experiments/configs/flow_pp_uniform_digits.py
Hardware: one CPU core, about eight minutes
Expected: <= 1.87 bits/dim on test, a bound with 100 draws; with learned noise (flow_pp_digits.py) <= 1.83
"""

from gen_jax import FlowPP, UniformDequantizer, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1000


def experiment() -> Experiment:
    """The flow of flow_pp_digits.py; a step costs less, so there are more of them in the same time."""
    return Experiment(
        model=FlowPP(
            image(8, 8, levels=17),
            features=32,
            blocks=2,
            components=4,
            couplings=(4, 2, 0),
            dequantizer=UniformDequantizer(),
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(2e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360, draws=100, validation_draws=5),
    )
