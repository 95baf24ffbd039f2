"""WaveNet on speech at 16 kHz (your copy of VCTK), the public network of five cycles of dilations 1 to 512.

Command: gen-jax data import vctk VCTK/wav48_at_16k --length 16000; gen-jax train experiments/configs/wavenet_vctk.py
Hardware: 8 accelerators, one window of a second on each
Published: no likelihood; 4.21 of 5 in opinion, another speaker (van den Oord et al. 2016, 1609.03499, table 1)
Expected: not run here

1,514,944 parameters; 5,117 samples of receptive field, 320 ms.
Sizes and optimiser are those of github.com/ibab/tensorflow-wavenet. Deviations from it: eight windows of 16,000 samples
a step (one crop of 100,000 there, silence trimmed); the loss is on every sample (there without the first 5,117); the
first layer has a bias; a last layer without the residual 1x1 that nothing reads; the weights are averaged.
"""

from gen_jax import WaveNet, sound
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """32 residual and gate channels, 512 of the skips."""
    return Experiment(
        model=WaveNet(sound(16_000), cycles=5, depth=10, features=32, skip_features=512),
        data=Data("vctk"),
        optimizer=Adam(1e-3, eps=0.0, eps_hat=1e-4),
        steps=100_000,
        batch_size=8,
        ema=0.9999,
        evaluate=Evaluate(every=2000, batch_size=8),
    )
