"""WaveNet over the 64 codes of a VQ-VAE of spoken digits (4,096 samples at 8 kHz), given the speaker.

Command: gen-jax train experiments/configs/vq_vae_prior_spoken_digits_speaker.py, after the first stage
Hardware: 2 CPU cores, 3 minutes
Expected: <= 3.67 bits/sample on test, a bound
"""

from vq_vae_spoken_digits_speaker import experiment as first_stage

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
            prior=WaveNet(first.code_event, num_classes=6, cycles=1, depth=6, skip_features=64),
        ),
        data=Data("spoken_digits_speaker"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=20, examples=40),
        first_stage="runs/vq_vae_spoken_digits_speaker",
    )
