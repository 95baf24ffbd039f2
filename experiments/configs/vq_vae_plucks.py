"""VQ-VAE of plucked strings (1,024 samples at 8 kHz, 256 mu-law levels, 8 pitches): 64 codes of 32, WaveNet decoder.

Command: gen-jax data prepare plucks; gen-jax train experiments/configs/vq_vae_plucks.py
Hardware: one CPU core, 6 minutes
Expected: <= 3.087 bits/sample on test, a bound

A code stands for 16 samples: 5 bits each under the uniform prior, 0.3125 bits for each sample. The decoder is given the
pitch and the vectors of the codes. WaveNet alone needs 3.13 bits/sample (wavenet_plucks).
"""

from gen_jax import VQVAE, WaveNet, sound
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1200


def experiment() -> Experiment:
    """Four strided convolutions; the decoder has two cycles of dilations 1 to 32."""
    event = sound(1024)
    decoder = WaveNet(event, num_classes=8, local=16, hop=16, cycles=2, depth=6, skip_features=128)
    return Experiment(
        model=VQVAE(
            event,
            strided=(32,) * 4,
            blocks=1,
            residual=32,
            codes=32,
            size=16,
            decay=0.95,
            restart=0.1,
            likelihood=decoder,
        ),
        data=Data("plucks"),
        optimizer=Adam(WarmupCosine(5e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=8,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=40, examples=80),
    )
