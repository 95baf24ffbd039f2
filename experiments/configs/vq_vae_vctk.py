"""VQ-VAE of speech at 16 kHz (your copy of VCTK, 109 speakers): a code of 512 for 64 samples, WaveNet decoder.

Command: gen-jax train experiments/configs/vq_vae_vctk.py, after the import of wavenet_vctk.py
Hardware: 8 accelerators, with one window of a second on each
Published: no likelihood; the words of reconstructions are kept (van den Oord et al. 2017, 1711.00937, section 4.3)
Expected: the first stage of vq_vae_prior_vctk; not run here

3,890,048 parameters. Section 4.3 gives six convolutions of stride 2 and window 4, K = 512, one code at each place, a
dilated WaveNet that is given the codes and the speaker one-hot; the sizes of the WaveNet are those of wavenet_vctk. Our
choices: 256 features, a convolution of width 3 and a 1x1 after the strided ones, vectors of 64 numbers, restarted
codes. Windows begin where the previous one ended.
"""

from gen_jax import VQVAE, WaveNet, sound
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """250 codes for a second; the decoder has five cycles of dilations 1 to 512."""
    event = sound(16_000)
    decoder = WaveNet(
        event,
        num_classes=109,
        local=64,
        hop=64,
        cycles=5,
        depth=10,
        features=32,
        skip_features=512,
    )
    return Experiment(
        model=VQVAE(
            event,
            strided=(256,) * 6,
            blocks=0,
            codes=512,
            size=64,
            restart=0.01,
            likelihood=decoder,
        ),
        data=Data("vctk"),
        optimizer=Adam(2e-4),
        steps=250_000,
        batch_size=8,
        ema=0.9999,
        evaluate=Evaluate(every=2000, batch_size=8),
    )
