"""Gated PixelCNN over the codes of a VQ-VAE, on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/vq_vae_digits.py; gen-jax train experiments/configs/vq_vae_prior_digits.py
Hardware: 2 CPU cores, about a minute for the first, half a minute for the second
Expected: <= 2.1 bits/dim on test, a bound; measured 2.044, a file 2.064; independent pixels need 2.41
"""

from vq_vae_digits import experiment as first_stage

from gen_jax import GatedPixelCNN, VQVAEPrior
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 800


def experiment() -> Experiment:
    """The codes are symbols without an order, so the prior embeds them as learned vectors."""
    first = first_stage().model
    return Experiment(
        model=VQVAEPrior(
            first=first,
            prior=GatedPixelCNN(
                first.code_event,
                depth=3,
                features=32,
                first_kernel=3,
                head_features=64,
                dropout=0.3,
                embedding=8,
            ),
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
        first_stage="runs/vq_vae_digits",
    )
