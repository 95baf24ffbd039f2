"""Every input acts in every model that takes it: dropout, class, vector, frames, noise, time, place, parameters."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, Case, build, conditions, random_events
from test_bounds import BOUNDS
from test_gan import IMAGES
from test_vq_vae import MODELS, random_variables
from test_wavenet import local_case

from gen_jax import DDPM, Classifier, PixelSNAIL, functional, image
from gen_jax.conditions import changed
from gen_jax.density import fold_in
from gen_jax.nn.encoders import ConvEncoder
from gen_jax.nn.unet import UNet

KEY = jax.random.key(0)
NETWORK = UNet(features=4, multipliers=(1,), blocks=1, attention=(2,), groups=2, dropout=0.5)
SNAIL = {"features": 4, "blocks": 1, "resnets": 1, "key_size": 3, "mixtures": 2}


def of_rows(case: Case) -> Any:
    """The case's model, or its larger one if images have one row: nothing reads kernels over the rows above then."""
    return case.larger if case.model.event.shape[0] == 1 else case.model


SYSTEMS = {name: of_rows(case) for name, case in CASES.items()} | {
    "pixel_snail_colour": PixelSNAIL(image(2, 2, 3, 3), num_classes=3, **SNAIL),
    "pixel_vae": BOUNDS["pixel_vae"],
    "iwae": BOUNDS["iwae"],
    "diffusion": DDPM(image(2, 2, 1, 3), network=NETWORK, timesteps=4),
    "vq_vae_prior": MODELS["classes"],
    "gan": IMAGES,
    "classifier": Classifier(image(4, 4, 1, 3), 3, ConvEncoder((4,)), hidden=5),
}
SOME = (
    "gated_pixel_cnn_conditional",
    "pixel_cnn_pp_conditional",
    "pixel_snail_colour",
    "pixel_vae",
)
SOME += ("wavenet_mixture_conditional", "diffusion", "vq_vae_prior", "classifier")
NOISY = ("pixel_vae", "iwae", "diffusion", "gan", "lm_conv", "lm_conv_colour", "dist_aug")


def with_dropout(model: Any) -> tuple[Any, bool]:
    """The model with dropout 1/2, and whether it has any randomness to change."""
    if isinstance(model, DDPM):
        return model, True
    if not hasattr(model, "dropout"):
        return model, False
    return dataclasses.replace(model, dropout=0.5), True


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in SOME else pytest.mark.slow) for n in SYSTEMS],
)
def test_every_input_changes_the_loss(name):
    """So does every parameter: a leaf without a gradient is not read. Nothing else changes the loss."""
    model, drops = with_dropout(SYSTEMS[name])
    _, variables = random_variables(model) if name == "vq_vae_prior" else build(model)
    params = variables.pop("params", {})
    x, cond = random_events(model, 6), conditions(model, 6)

    @jax.jit
    def program(params, x, cond, key, drop):
        def loss(params):
            given = {"params": params, **variables}
            mutable, rngs = [*variables], {"dropout": drop}
            return model.apply(given, x, key, cond, method="loss", mutable=mutable, rngs=rngs)[0][0]

        return jax.value_and_grad(loss)(params)

    keys = [fold_in(KEY, name) for name in ("first", "second")]
    (one, slopes), (again, _) = (program(params, x, cond, keys[0], keys[0]) for _ in range(2))
    assert one == again
    assert (program(params, x, cond, keys[0], keys[1])[0] != one) == drops
    assert (program(params, x, cond, keys[1], keys[0])[0] != one) == (name in NOISY)
    if cond is not None:
        for other in changed(model, cond):
            assert program(params, x, other, keys[0], keys[0])[0] != one
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        read = jax.tree_util.keystr(path)
        if not read.endswith("['key']['bias']"):  # adds the same to every score of a query
            assert np.abs(slope).max() > 1e-7, read


CONDITIONED = [name for name, case in CASES.items() if case.model.num_classes > 2]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in SOME[:2] else pytest.mark.slow) for n in CONDITIONED]
)
def test_the_class_reaches_every_site(name):
    """The distribution of each site, also of the first, which has nothing else, differs from class to class."""
    model = CASES[name].model
    _, variables = build(model)
    x = jnp.repeat(random_events(model, 1), 3, axis=0)
    params = np.asarray(jax.jit(model.apply)(variables, x, jnp.arange(3)))
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.all(np.any(params[one] != params[other], axis=-1))


def test_frames_change_the_loss():
    model, variables, cond = local_case()
    pure, x = functional(model), random_events(model, 3)
    both = [jax.jit(pure.log_prob)(variables, x, cond=scale * cond) for scale in (1.0, 1.1)]
    assert np.all(both[0] != both[1])


@pytest.mark.parametrize("axis", [0, 1])
def test_the_place_reaches_the_attention(axis, monkeypatch):
    """Row and column of PixelSNAIL run from -1/2 in even steps to one step below 1/2, and each is read."""
    model = PixelSNAIL(image(2, 3, 1, 3), **SNAIL)
    steps = np.moveaxis(model.coordinates, axis, 0)[..., axis]
    side = model.event.shape[axis]
    np.testing.assert_allclose(steps[:, 0], np.arange(side) / side - 0.5)
    np.testing.assert_array_equal(steps, steps[:, :1].repeat(steps.shape[1], axis=1))
    _, variables = build(model)
    x, places = random_events(model, 2), model.coordinates
    before = jax.jit(model.apply)(variables, x)
    moved = places + 0.1 * (np.arange(2) == axis)
    monkeypatch.setattr(PixelSNAIL, "coordinates", property(lambda self: moved))
    after = jax.jit(lambda *of: model.apply(*of))(variables, x)
    assert np.any(after != before)
