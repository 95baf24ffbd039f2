"""Small models of the same kind, for laws that enumerate all events or compute a whole Jacobian.

`small` keeps the equations and shrinks event and networks; `corner` keeps the weights and shrinks the event. A class
from outside registers its rule with `@small.register` (`functools.singledispatch`).
"""

import functools
import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.conditions import drawn
from gen_jax.density import functional, root_key
from gen_jax.errors import InputError
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.pixel_cnn_auxiliary import PixelCNNGray, PixelCNNPyramid
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.models.autoregressive.pixel_snail import PixelSNAIL
from gen_jax.models.autoregressive.wavenet import WaveNet
from gen_jax.models.diffusion.ddpm import DDPM, DDPMSampler, LinearSchedule
from gen_jax.models.diffusion.vdm import VDM, VDMSampler
from gen_jax.models.flow.base import Flow
from gen_jax.models.flow.dequantizers import UniformDequantizer
from gen_jax.models.flow.ffjord import FFJORD, ImageFFJORD
from gen_jax.models.flow.flow_pp import FlowPP
from gen_jax.models.flow.glow import Glow
from gen_jax.models.flow.real_nvp import ImageRealNVP
from gen_jax.models.flow.tar_flow import TarFlow
from gen_jax.models.latent.encoded import Encoded
from gen_jax.models.latent.losses import KLTerm, KLWeighted
from gen_jax.models.latent.vd_vae import VDVAE
from gen_jax.models.latent.vq_vae import VQVAE
from gen_jax.models.latent.vq_vae_2 import VQVAE2, VQVAE2Prior
from gen_jax.models.latent.vq_vae_prior import VQVAEPrior
from gen_jax.nn.unet import UNet
from gen_jax.typing import Event, Variables

UNIFORM = UniformDequantizer()  # the noise of every small flow: learned noise has laws of its own


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
def _latent(model: Encoded) -> Encoded:
    """A model with 2^16 images or 2^10 vectors, and two latents at each place of a grid of the same scale."""
    event = Event((4, 4, 1), 2) if len(model.event.shape) == 3 else Event((10,), 2)
    changes: dict[str, Any] = {"event": event, "latent": 2}
    if isinstance(model, KLWeighted):
        changes["kl"] = KLTerm()  # two latents may not split into groups
    if model.places:
        sides = zip(model.places, model.event.shape, event.shape, strict=False)
        changes["grid"] = tuple(max(1, small * place // side) for place, side, small in sides)
    return model.clone(**changes)


@small.register
def _deep(model: VDVAE) -> VDVAE:
    """A model with 2^16 images, three groups of latents and a map of four features."""
    return model.clone(
        event=Event((4, 4, 1), 2),
        encoder="4x1,4d4,1x1",
        decoder="1x1,4m1,4x1",
        width=4,
        bottleneck=0.5,
        latent=1,
        kl=KLTerm(),
    )


@small.register
def _codes(model: VQVAE) -> VQVAE:
    """A model with 256 images or sequences and 9 pairs of codes."""
    sequence = len(model.event.shape) == 1
    event, strided = (Event((8,), 2), (3, 3)) if sequence else (Event((2, 4, 1), 2), (3,))
    return _first_stage(model, event=event, strided=strided, codes=3)


@small.register
def _two_grids(model: VQVAE2) -> VQVAE2:
    """A model with 2^16 images or 2^8 sequences, and 5 or 6 codes of two."""
    event = Event((8,), 2) if len(model.event.shape) == 1 else Event((4, 4, 1), 2)
    return _first_stage(model, event=event, strided=(3,), top=(3,), codes=2)


def _first_stage(model: VQVAE, **sizes: Any) -> Any:
    """A model of these sizes with small networks."""
    sizes |= {"blocks": 1, "residual": 2, "size": 2, "groups": 1}
    clone = model.clone(parent=None, likelihood=None, **sizes)
    if model.likelihood is None:
        return clone
    return clone.clone(likelihood=_network(model.likelihood, clone.event, *clone.vector_events))


@small.register
def _with_prior(model: VQVAEPrior) -> VQVAEPrior:
    """The small first stage under the same prior."""
    first = small(model.first.clone(parent=None))
    prior = model.prior.clone(parent=None, event=first.code_event)
    return model.clone(parent=None, first=first, prior=prior)


@small.register
def _with_two_priors(model: VQVAE2Prior) -> VQVAE2Prior:
    """The small first stage under small priors."""
    first = small(model.first.clone(parent=None))
    over_top, over_bottom = first.code_events
    top, bottom = _network(model.top, over_top), _network(model.bottom, over_bottom, over_top)
    return model.clone(parent=None, first=first, top=top, bottom=bottom)


def _network(network: Autoregressive, event: Event, *given: Event) -> Autoregressive:
    """A small network of this event that is given these; the kinds that read others shrink, others stay unchanged."""
    channels = event.shape[-1]
    sizes: dict[str, Any] = {"event": event}
    if isinstance(network, GatedPixelCNN):
        features = {"features": 4 * channels, "head_features": 4 * channels}
        sizes |= {"depth": 1, "first_kernel": 3, "maps": given, **features}
    if isinstance(network, PixelCNNPP):
        sizes |= {"features": 4, "resnets": 1, "resolutions": 1, "maps": given}
    if isinstance(network, PixelSNAIL):
        sizes |= {"features": 4, "blocks": 1, "resnets": 1, "key_size": 2}
    if isinstance(network, WaveNet):
        frames = [one for one in given if one.levels is None]
        codes = tuple(one for one in given if one.levels is not None)
        hop, local = (event.size // frames[0].shape[0], frames[0].shape[1]) if frames else (1, 0)
        sizes |= {"cycles": 1, "depth": 2, "features": 4, "skip_features": 4}
        sizes |= {"local": local, "hop": hop, "codes": codes}
    if given and isinstance(network, GatedPixelCNN | PixelCNNPP):
        resnets = min(network.reader.resnets, 1)
        sizes["reader"] = replace(network.reader, features=4, resnets=resnets, resolutions=1)
    return network.clone(parent=None, **sizes)


@small.register
def _gray(model: PixelCNNGray) -> PixelCNNGray:
    """A model with 81 grey images or 64 colour images, in two levels of grey."""
    channels = model.event.shape[-1]
    event = Event((2, 2, 1), 3) if channels == 1 else Event((1, 2, channels), 2)
    view = Event((*event.shape[:2], 1), 2)
    first, last = model.networks
    networks = (_network(first, view), _network(last, event, view))
    return model.clone(parent=None, event=event, levels=2, networks=networks)


@small.register
def _pyramid(model: PixelCNNPyramid) -> PixelCNNPyramid:
    """A model of two levels and two parts, or three if views are parts of the pixels, whose values are fewer."""
    parts = min(len(model.networks), 3 if model.view == "subsample" else 2)
    channels = model.event.shape[-1] if parts == 2 else 1
    shapes = [(2**k, 2**k, channels) for k in range(parts)]
    events = [Event(shape, 2) for shape in shapes]
    networks = [
        _network(network, event, *events[max(k - 1, 0) : k])
        for k, (network, event) in enumerate(zip(model.networks[-parts:], events, strict=True))
    ]
    return model.clone(parent=None, event=events[-1], networks=tuple(networks))


@small.register
def _flow(model: ImageRealNVP) -> ImageRealNVP:
    """A model with 2^8 images, small networks and at most two scales."""
    event, scales = Event((4, 2, 1), 2), min(model.scales, 2)
    return model.clone(event=event, features=4, blocks=1, scales=scales, dequantizer=UNIFORM)


@small.register
def _flow_pp(model: FlowPP) -> FlowPP:
    """A model with 2^8 images, at most two steps in each stage, and small networks."""
    return model.clone(
        event=Event((2, 4, 1), 2),
        features=4,
        blocks=1,
        components=2,
        couplings=tuple(min(count, 2) for count in model.couplings),
        heads=2,
        dequantizer=UNIFORM,
    )


@small.register
def _patches(model: TarFlow) -> TarFlow:
    """A model with 2^8 images of at least two patches, two maps of one layer, and small networks."""
    sizes: dict[str, Any] = {"blocks": min(model.blocks, 2), "layers": 1}
    sizes |= {"features": 4, "heads": 2, "dequantizer": UNIFORM}
    return model.clone(event=Event((4, 2, 1), 2), patch=min(model.patch, 2), dropout=0.0, **sizes)


@small.register
def _glow(model: Glow) -> Glow:
    """A model with 2^8 images at one scale or 2^16 at two, two steps at each and small networks."""
    scales, depth = min(model.scales, 2), min(model.depth, 2)
    event = Event((4, 2, 1) if scales == 1 else (4, 4, 1), 2)
    return model.clone(event=event, scales=scales, depth=depth, width=4, dequantizer=UNIFORM)


@small.register
def _continuous(model: ImageFFJORD) -> ImageFFJORD:
    """A model with 2^8 images, small networks, at most two scales and the exact trace."""
    event, scales = Event((4, 2, 1), 2), min(model.scales, 2)
    solver = replace(model.solver, trace="exact")
    hidden = (4,) * len(model.hidden)
    return model.clone(
        event=event, hidden=hidden, blocks=1, scales=scales, solver=solver, dequantizer=UNIFORM
    )


@small.register
def _continuous_points(model: FFJORD) -> FFJORD:
    """A model of points in space, with small networks."""
    return model.clone(event=Event((3,)), hidden=(4,) * len(model.hidden), blocks=1)


@small.register
def _ddpm(model: DDPM) -> DDPM:
    """A model with 2^9 images and three noisy steps; a U-net has one resolution, another network stays unchanged."""
    return model.clone(
        event=Event((3, 3, 1), 2),
        network=_small_unet(model.network),
        timesteps=3,
        schedule=LinearSchedule(0.6, 0.8),
        times=None,
        sampler=DDPMSampler(),
    )


@small.register
def _vdm(model: VDM) -> VDM:
    """A model with 2^9 images and three noisy values; a U-net is as for a DDPM."""
    return model.clone(
        event=Event((3, 3, 1), 2),
        network=_small_unet(model.network),
        timesteps=2,
        schedule=model.schedule.clone(parent=None, first=-1.0, last=2.0),
        sampler=VDMSampler(),
    )


def _small_unet(network: Any) -> Any:
    if isinstance(network, UNet):
        return network.clone(features=4, multipliers=(1,), blocks=1, groups=2)
    return network


@functools.singledispatch
def corner(model: Any, variables: Variables) -> tuple[Any, Variables]:
    """A model over smaller events, the first values on each axis, and its part of the weights.

    Without a rule for the model's class these are the model and its weights.
    """
    return model, variables


@corner.register
def _corner(model: ImageRealNVP | Glow, variables: Variables) -> tuple[Flow, Variables]:
    """A corner of 2^scales pixels per side."""
    return _cut(model, variables, 2**model.scales, 2**model.scales)


@corner.register
def _patches_of_corner(model: TarFlow, variables: Variables) -> tuple[Flow, Variables]:
    """A corner of two patches per side."""
    return _cut(model, variables, 2 * model.patch, 2 * model.patch)


@corner.register
def _continuous_corner(model: ImageFFJORD, variables: Variables) -> tuple[Flow, Variables]:
    """A corner of 2^scales pixels per side, under the weights of its places; dense layers have none, so all pixels."""
    side, (height, width, channels) = 2**model.scales, model.event.shape
    if model.dense:
        return model, variables
    shape = (min(side, height), min(side, width), channels)

    def cut(path: Any, leaf: Any) -> Any:
        return leaf[: shape[0], : shape[1]] if path[1].key == "norm" else leaf

    cut_variables = jax.tree_util.tree_map_with_path(cut, dict(variables))
    return model.clone(event=Event(shape, model.event.levels)), cut_variables


@corner.register
def _corner_of_flow_pp(model: FlowPP, variables: Variables) -> tuple[Flow, Variables]:
    """A corner of 2x4 pixels."""
    return _cut(model, variables, 2, 4)


def _cut(model: Any, variables: Variables, *sides: int) -> tuple[Any, Variables]:
    """A model over images of at most these sides, and the first entries of all arrays that have the places as axes."""
    shape = (*map(min, sides, model.event.shape), model.event.shape[-1])
    smaller = model.clone(event=Event(shape, model.event.levels))
    x = jax.ShapeDtypeStruct((2, *shape), jnp.int32)
    shapes = jax.eval_shape(functional(smaller).init, root_key(0), x, cond=drawn(smaller, 2))
    cut = lambda leaf, like: leaf[tuple(map(slice, like.shape))]  # noqa: E731
    return smaller, jax.tree.map(cut, dict(variables), dict(shapes))
