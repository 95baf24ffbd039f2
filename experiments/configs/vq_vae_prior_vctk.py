"""WaveNet over the codes of a VQ-VAE of speech at 16 kHz (your copy of VCTK, 109 speakers).

Command: gen-jax train experiments/configs/vq_vae_prior_vctk.py
Hardware: 8 accelerators
Published: no likelihood; samples without words keep the sounds of a language (1711.00937, section 4.3)
Expected: a bound below that of vq_vae_vctk, whose prior is uniform; not run here

7,702,656 parameters. The paper gives no sizes for the prior; here its receptive field of 190 codes covers three
quarters of a second. The prior is given the speaker too.
"""

from vq_vae_vctk import experiment as first_stage

from gen_jax import VQVAEPrior, WaveNet
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """Three cycles of dilations 1 to 32 over 250 codes."""
    first = first_stage().model
    return Experiment(
        model=VQVAEPrior(
            first=first,
            prior=WaveNet(
                first.code_event,
                num_classes=109,
                cycles=3,
                depth=6,
                features=128,
                skip_features=512,
            ),
        ),
        data=Data("vctk"),
        optimizer=Adam(2e-4),
        steps=100_000,
        batch_size=64,
        ema=0.9999,
        evaluate=Evaluate(every=2000, batch_size=8),
        first_stage="runs/vq_vae_vctk",
    )
