"""The masked sibling of Image GPT on scikit-learn's digits (8x8), the 17 grey levels as tokens: no likelihood.

Command: gen-jax train experiments/configs/image_bert_digits.py
Hardware: 2 CPU cores, about three minutes
Expected: `gen-jax probe` tells which block knows most of the digit
"""

from gen_jax import ImageBERT, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1500


def experiment() -> Experiment:
    """The blocks of `image_gpt_digits`."""
    return Experiment(
        model=ImageBERT(image(8, 8, levels=17), layers=6, features=96, heads=4, dropout=0.3),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(2e-3, 100, STEPS), b2=0.95, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )
