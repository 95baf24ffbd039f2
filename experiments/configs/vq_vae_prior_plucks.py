"""WaveNet over the 64 codes of a VQ-VAE of plucked strings (1,024 samples at 8 kHz), given the pitch.

Command: gen-jax train experiments/configs/vq_vae_plucks.py; gen-jax train experiments/configs/vq_vae_prior_plucks.py
Hardware: one CPU core, 6 minutes for the first, a minute for the second
Expected: <= 2.849 bits/sample on test, a bound

Codes and samples are given the pitch; WaveNet alone needs 3.13 bits/sample (wavenet_plucks).
"""

from vq_vae_plucks import experiment as first_stage

from gen_jax import VQVAEPrior, WaveNet
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1500


def experiment() -> Experiment:
    """Dilations 1 to 32 see all codes; WaveNet reads them one-hot, as symbols without an order."""
    first = first_stage().model
    return Experiment(
        model=VQVAEPrior(
            first=first,
            prior=WaveNet(first.code_event, num_classes=8, cycles=1, depth=6, skip_features=64),
        ),
        data=Data("plucks"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=250, batch_size=40, examples=80),
        first_stage="runs/vq_vae_plucks",
    )
