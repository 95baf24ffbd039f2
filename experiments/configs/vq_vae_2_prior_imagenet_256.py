"""Priors of the codes of a VQ-VAE-2 on ImageNet at 256x256, given the class: PixelSNAIL above, gated PixelCNN below.

Command: gen-jax train experiments/configs/vq_vae_2_prior_imagenet_256.py
Hardware: many accelerators, some weeks
Published: quality of samples, no likelihood of images (Razavi et al. 2019, 1906.00446, section 5)
Expected: not run here

676,319,780 parameters. Appendix A: 512 features in both, 20 residual networks and four attentions above, 20 layers
below, windows of 5x5, dropout 0.1, 20 residual blocks that read the top codes. Deviations: attention has one head
(there eight); the networks are PixelSNAIL with windows of 2x2 and gated PixelCNN, without the output stack of 20
layers; the top codes are read at one resolution; both priors are trained together, on one batch size.
"""

from vq_vae_2_imagenet_256 import experiment as first_stage

from gen_jax import GatedPixelCNN, MapReader, PixelSNAIL, VQVAE2Prior
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """1,000 classes for both priors; the codes are read as learned vectors."""
    first = first_stage().model
    top, bottom = first.code_events
    return Experiment(
        model=VQVAE2Prior(
            first=first,
            top=PixelSNAIL(
                top,
                num_classes=1000,
                features=512,
                blocks=4,
                resnets=5,
                key_size=128,
                mixtures=None,
                dropout=0.1,
                embedding=512,
            ),
            bottom=GatedPixelCNN(
                bottom,
                num_classes=1000,
                maps=(top,),
                reader=MapReader(features=512, resnets=20, resolutions=1, embedding=512),
                depth=20,
                features=512,
                first_kernel=5,
                kernel=5,
                head_features=1024,
                dropout=0.1,
                embedding=512,
            ),
        ),
        data=Data("imagenet_256"),
        optimizer=Adam(1e-4, clip_norm=1.0),
        steps=1_600_000,
        batch_size=512,
        ema=0.9999,
        evaluate=Evaluate(every=10_000, batch_size=64, examples=5000),
        first_stage="runs/vq_vae_2_imagenet_256",
    )
