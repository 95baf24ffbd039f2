"""PixelSNAIL and gated PixelCNN over the top and the bottom codes of a VQ-VAE-2, on scikit-learn's digits (8x8).

Command: gen-jax train experiments/configs/vq_vae_2_prior_digits.py, after vq_vae_2_digits.py
Hardware: 2 CPU cores, about a minute each
Expected: <= 2.28 bits/dim on test, a bound, mean of three seeds
"""

from vq_vae_2_digits import experiment as first_stage

from gen_jax import GatedPixelCNN, MapReader, PixelSNAIL, VQVAE2Prior
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 800


def experiment() -> Experiment:
    """All codes are symbols, read as learned vectors; the bottom codes are given the top codes."""
    first = first_stage().model
    top, bottom = first.code_events
    return Experiment(
        model=VQVAE2Prior(
            first=first,
            top=PixelSNAIL(
                top, features=32, blocks=2, resnets=1, mixtures=None, dropout=0.3, embedding=8
            ),
            bottom=GatedPixelCNN(
                bottom,
                maps=(top,),
                reader=MapReader(features=32, resnets=1, resolutions=1, embedding=8),
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
        first_stage="runs/vq_vae_2_digits",
    )
