"""PixelVAE on scikit-learn's digits (8x8, 17 levels): 8 latent units in the gates of a gated PixelCNN.

Command: gen-jax train experiments/configs/pixel_vae_digits.py
Hardware: 2 CPU cores, about two minutes
"""

from gen_jax import PixelVAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.latent.losses import KLTerm
from gen_jax.nn.encoders import DenseEncoder
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1800


def experiment() -> Experiment:
    """Without free bits z is nearly unused, and it collapses at kl.beta=2: see experiments/collapse."""
    return Experiment(
        model=PixelVAE(
            image(8, 8, levels=17),
            latent=8,
            encoder=DenseEncoder((200,)),
            depth=5,
            features=32,
            head_features=64,
            dropout=0.3,
            kl=KLTerm(free_bits=4.0),
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), clip_norm=10.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360, draws=100, validation_draws=5),
    )
