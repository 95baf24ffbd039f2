"""VQ-VAE of spoken digits (4,096 samples at 8 kHz, 256 mu-law levels, six speakers): 64 codes of 64, WaveNet decoder.

Command: gen-jax train experiments/configs/vq_vae_spoken_digits_speaker.py, after the import in docs/import.md
Hardware: 2 CPU cores, 9 minutes
Expected: <= 3.73 bits/sample on test, a bound; 3.74 without codes

A code stands for 64 samples, as in the paper: 6 bits each under the uniform prior, 0.094 bits for each sample. The
decoder is given the codes and the speaker; wavenet_spoken_digits_speaker is the same WaveNet without codes.
"""

import dataclasses

from wavenet_spoken_digits_speaker import experiment as without_codes

from gen_jax import VQVAE
from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """Six strided convolutions; optimiser and steps are those without codes."""
    base = without_codes()
    decoder = base.model.clone(local=16, hop=64)
    return dataclasses.replace(
        base,
        model=VQVAE(
            decoder.event,
            strided=(32,) * 6,
            blocks=1,
            residual=32,
            codes=64,
            size=16,
            decay=0.95,
            restart=0.1,
            likelihood=decoder,
        ),
    )
