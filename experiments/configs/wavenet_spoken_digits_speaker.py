"""WaveNet on spoken digits (4,096 samples at 8 kHz, 256 mu-law levels), given which of six speakers speaks.

Command: gen-jax train experiments/configs/wavenet_spoken_digits_speaker.py, after the import in docs/import.md
Hardware: 2 CPU cores, 8 minutes
Expected: 3.74 bits/sample on test, exact
"""

from gen_jax import WaveNet, sound
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 500


def experiment() -> Experiment:
    """Two cycles of dilations 1 to 64 see 256 samples, 32 ms."""
    return Experiment(
        model=WaveNet(sound(4096), num_classes=6, cycles=2, depth=7, skip_features=128),
        data=Data("spoken_digits_speaker"),
        optimizer=Adam(WarmupCosine(5e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=4,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=20, examples=40),
    )
