"""WaveNet on speech at 16 kHz (your copy of VCTK), a public network with five cycles of dilations 1 to 512.

Command: gen-jax data import vctk VCTK/wav48_at_16k --length 16000; gen-jax train experiments/configs/wavenet_vctk.py
Hardware: 8 accelerators, with one window of a second on each
Published: no likelihood; mean opinion score 4.21 of 5, another speaker (van den Oord et al. 2016, 1609.03499, table 1)
Expected: not run here

1,514,944 parameters; a receptive field of 5,117 samples, 320 ms.
Sizes and optimiser are those of github.com/ibab/tensorflow-wavenet. Deviations from it: eight windows of 16,000 samples
per step (one crop of 100,000 there, silence trimmed); the loss is on every sample (there without the first 5,117); the
first layer has a bias; the last layer has no residual 1x1 convolution, whose output nothing would use; weights are
averaged.
"""

from gen_jax import WaveNet, sound
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """32 residual and gate channels, 512 skip channels."""
    return Experiment(
        model=WaveNet(sound(16_000), cycles=5, depth=10, features=32, skip_features=512),
        data=Data("vctk"),
        optimizer=Adam(1e-3, eps=0.0, eps_hat=1e-4),
        steps=100_000,
        batch_size=8,
        ema=0.9999,
        evaluate=Evaluate(every=2000, batch_size=8),
    )
