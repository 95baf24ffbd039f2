"""Small models of the same kind, for laws that enumerate all events or compute a whole Jacobian.

`small` keeps the equations and shrinks event and networks; `corner` keeps the weights and shrinks the event. A class
from outside registers its rule with `@small.register` (`functools.singledispatch`).
"""

import functools
import itertools
from typing import Any

import numpy as np

from gen_jax.errors import InputError
from gen_jax.models.diffusion.ddpm import DDPM, DDPMSampler, LinearSchedule
from gen_jax.models.flow.base import Flow
from gen_jax.models.flow.real_nvp import ImageRealNVP
from gen_jax.models.latent.base import GaussianLatent, KLTerm, KLWeighted
from gen_jax.models.latent.vq_vae import VQVAE
from gen_jax.models.latent.vq_vae_prior import VQVAEPrior
from gen_jax.nn.unet import UNet
from gen_jax.typing import Event


def all_events(event: Event) -> np.ndarray:
    """Every possible event of integers, (levels^D, *shape)."""
    values = itertools.product(range(event.num_levels), repeat=event.size)
    return np.array(list(values), np.int32).reshape(-1, *event.shape)


@functools.singledispatch
def small(model: Any) -> Any:
    """A model of the same kind whose events can be enumerated; InputError if no rule is registered."""
    raise InputError(
        f"{type(model).__name__} has no rule that makes a small model of its kind, whose events can be enumerated:"
        " register one with @gen_jax.laws.small.small.register"
    )


@small.register
def _latent(model: GaussianLatent) -> GaussianLatent:
    """A model with two latent units and 2^16 images or 2^10 vectors."""
    event = Event((4, 4, 1), 2) if len(model.event.shape) == 3 else Event((10,), 2)
    return model.clone(event=event, latent=2)


@small.register
def _weighted(model: KLWeighted) -> GaussianLatent:
    """The same without groups of units, since two units may not split into them."""
    return _latent(model).clone(kl=KLTerm())


@small.register
def _staged(model: VQVAE) -> VQVAE:
    """A model with 256 images and 9 pairs of codes."""
    return model.clone(
        event=Event((2, 4, 1), 2), strided=(3,), blocks=1, residual=2, codes=3, size=2, groups=1
    )


@small.register
def _with_prior(model: VQVAEPrior) -> VQVAEPrior:
    """The small first stage under the same prior."""
    first = _staged(model.first.clone(parent=None))
    prior = model.prior.clone(parent=None, event=first.code_event)
    return model.clone(parent=None, first=first, prior=prior)


@small.register
def _flow(model: ImageRealNVP) -> ImageRealNVP:
    """A model with 2^8 images, small networks and at most two scales."""
    event, scales = Event((4, 2, 1), 2), min(model.scales, 2)
    return model.clone(event=event, features=4, blocks=1, scales=scales)


@small.register
def _ddpm(model: DDPM) -> DDPM:
    """A model with 2^9 images and three noisy steps; a U-net has one resolution, another network stays unchanged."""
    network = model.network
    if isinstance(network, UNet):
        network = network.clone(features=4, multipliers=(1,), blocks=1, groups=2)
    return model.clone(
        event=Event((3, 3, 1), 2),
        network=network,
        timesteps=3,
        schedule=LinearSchedule(0.6, 0.8),
        sampler=DDPMSampler(),
    )


@functools.singledispatch
def corner(model: Any) -> Any:
    """A model of the same weights over smaller events, the first values on each axis; without a rule, the model."""
    return model


@corner.register
def _corner(model: ImageRealNVP) -> Flow:
    """A corner of 2^scales pixels per side."""
    side, (height, width, channels) = 2**model.scales, model.event.shape
    shape = (min(side, height), min(side, width), channels)
    return model.clone(event=Event(shape, model.event.levels))
