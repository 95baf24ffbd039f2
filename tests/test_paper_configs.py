"""The first update of each config that follows published code, at small size, is that of the published optimiser.

Each author's first update is written out here for a gradient of the author's own loss, at a learning rate of 1.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import Local, UniformDequantizer, functional, image, sound
from gen_jax.evaluate.catalogue import docstring
from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.nn.unet import UNet
from gen_jax.optimizer import matrices

BATCH = 4


def inside(eps):
    """g / sqrt(g^2 + eps): github.com/openai/pixel-cnn, nn.adam_updates."""
    return lambda g: g / np.sqrt(g**2 + eps)


def after(eps):
    """g / (|g| + eps): the paper's algorithm 1, PyTorch."""
    return lambda g: g / (np.abs(g) + eps)


def tensorflow(eps, b2=0.999):
    """a m / (sqrt(v) + eps), a = sqrt(1 - b2^t) / (1 - b1^t): TensorFlow's Adam."""
    return lambda g: np.sqrt(1 - b2) * g / (np.sqrt((1 - b2) * g**2) + eps)


def from_one(eps, b2=0.999):
    """The same with v = 1 at the start: github.com/yburda/iwae, optimizers.Adam."""
    return lambda g: np.sqrt(1 - b2) * g / (np.sqrt(b2 + (1 - b2) * g**2) + eps)


def penalised_and_clipped(gradients, params):
    """The gradient of 5e-5 times the squares of the scales, then at most norm 100."""

    def penalised(path, g, w):
        return g + 1e-4 * w if path[-1].key == "scale" else g

    found = jax.tree_util.tree_map_with_path(penalised, gradients, params)
    norm = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(found)))
    return jax.tree.map(lambda g: g * min(1.0, 100 / norm), found)


def clipped_at_one(gradients, params):
    norm = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(gradients)))
    return jax.tree.map(lambda g: g / max(norm, 1.0), gradients)


class Authors(NamedTuple):
    """Changes to a small model, the authors' loss / ours, what the authors do to gradients, and their Adam."""

    changes: dict[str, Any]
    size: float
    update: Callable
    prepared: Callable = lambda gradients, params: gradients
    decay: float = 0.0  # beside the update
    decayed: Callable = matrices  # which parameters


TINY = {"event": image(4, 4, 3), "mixtures": 2, "dropout": 0.0, "resnets": 1}
DENSE = {
    "event": image(4, 4, levels=2),
    "latent": 2,
    "encoder": DenseEncoder((5,)),
    "decoder": DenseDecoder((5,)),
}
AUTHORS = {
    "pixel_cnn_pp_cifar10": Authors(TINY | {"features": 6}, BATCH * 48, inside(1e-8)),
    "pixel_snail_cifar10": Authors(
        TINY | {"features": 6, "blocks": 1, "key_size": 2}, BATCH * 48, inside(1e-6)
    ),
    "lm_conv_cifar10": Authors(
        {"event": image(4, 4, 3), "mixtures": 2, "features": 4, "resnets": 0},
        BATCH * 48,
        after(1e-8),
    ),
    "gated_pixel_cnn_dynamic_mnist": Authors(
        {"event": image(4, 4, levels=2), "depth": 1, "features": 4, "head_features": 4},
        16,
        after(1e-8),
    ),
    "real_nvp_cifar10": Authors(
        {"event": image(4, 4, 3), "features": 4, "blocks": 1},
        48,
        tensorflow(1e-8),
        penalised_and_clipped,
    ),
    "sparse_transformer_cifar10": Authors(
        {
            "event": image(4, 4, 3),
            "patterns": (Local(4),),
            "layers": 1,
            "features": 4,
            "key_features": 2,
            "inner": 4,
            "dropout": 0.0,
        },
        1,
        after(1e-8),
        clipped_at_one,
        0.01,
    ),
    "tar_flow_downsampled_imagenet_64": Authors(
        {"event": image(4, 4, 3), "blocks": 1, "layers": 1, "features": 4, "heads": 1},
        1,
        after(1e-8),
        decay=1e-4,
        decayed=lambda params: jax.tree.map(lambda _: True, params),
    ),
    "flow_pp_cifar10": Authors(
        {
            "event": image(4, 4, 3),
            "features": 4,
            "blocks": 1,
            "components": 2,
            "couplings": (1, 1, 0),
            "heads": 1,
            "dropout": 0.0,
            "dequantizer": UniformDequantizer(),
        },
        48,
        tensorflow(1e-8),
        clipped_at_one,
    ),
    "vae_dynamic_mnist": Authors(DENSE, BATCH, from_one(1e-4)),
    "iwae_dynamic_mnist": Authors(DENSE | {"draws": 3}, BATCH, from_one(1e-4)),
    "wavenet_vctk": Authors(
        {"event": sound(32, 16), "cycles": 1, "depth": 2, "features": 4, "skip_features": 4},
        1,
        tensorflow(1e-4),
    ),
    "ddpm_cifar10": Authors(
        {
            "event": image(4, 4, 3),
            "network": UNet(
                features=4, multipliers=(1,), blocks=1, attention=(), groups=2, dropout=0.0
            ),
        },
        1,
        tensorflow(1e-8),
        clipped_at_one,
    ),
    "vdm_cifar10": Authors(
        {
            "event": image(4, 4, 3),
            "network": UNet(4, (1,), 1, (), groups=2, dropout=0.0, zero_time=True),
        },
        1,
        after(1e-8),
        decay=0.01,
    ),
}


def test_every_config_after_published_code_is_here():
    named = [
        path.stem
        for path in CONFIGS.glob("*.py")
        if any("Deviations from" in line for line in docstring(path))
    ]
    assert sorted(named) == sorted(AUTHORS)


def small(name):
    """The experiment with a small model and batch, and a rate that does not warm up."""
    experiment = load_config(CONFIGS / f"{name}.py")
    return dataclasses.replace(
        experiment,
        model=experiment.model.clone(**AUTHORS[name].changes),
        optimizer=dataclasses.replace(experiment.optimizer, learning_rate=1.0),
        batch_size=BATCH,
    )


def updates(name, experiment, ours, params):
    """The updates of our optimiser from these gradients of our loss, and the authors' updates from theirs."""
    authors, chain = AUTHORS[name], experiment.transformation()
    found, _ = chain.update(ours, chain.init(params), params)
    theirs = jax.tree.map(lambda g: authors.size * np.asarray(g, np.float64), ours)
    prepared, chosen = authors.prepared(theirs, params), authors.decayed(params)
    update = lambda g, w, chosen: -authors.update(g) - authors.decay * chosen * w  # noqa: E731
    expected = jax.tree.map(update, prepared, params, chosen)
    return [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
        for tree in (found, expected)
    ]


@pytest.mark.parametrize("name", AUTHORS)
def test_the_first_update_is_the_authors_for_gradients_of_all_sizes(name):
    """Random gradients between 1e-10 and 10 in size, for each element."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-10, 1, (3, 400)) * rng.choice([-1, 1], (3, 400))
    ours = dict(zip(("kernel", "bias", "scale"), jnp.asarray(sizes, jnp.float32), strict=True))
    params = jax.tree.map(lambda g: jnp.asarray(rng.normal(size=g.shape), jnp.float32), ours)
    both = updates(name, small(name), {"layer": ours}, {"layer": params})
    np.testing.assert_allclose(*both, rtol=1e-3, atol=1e-12)


HEAVY = (
    "pixel_cnn_pp_cifar10",
    "pixel_snail_cifar10",
    "lm_conv_cifar10",
    "real_nvp_cifar10",
    "flow_pp_cifar10",
    "ddpm_cifar10",
    "vdm_cifar10",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in HEAVY else [])
        for name in AUTHORS
        if name != "iwae_dynamic_mnist"  # as the VAE's
    ],
)
def test_the_median_of_the_first_update_is_the_authors(name):
    """For the gradient of the model itself."""
    experiment = small(name)
    pure, key, event = functional(experiment.model), jax.random.key(0), experiment.model.event
    x = jax.random.randint(key, (BATCH, *event.shape), 0, event.levels)

    @jax.jit
    def gradients():
        collections = dict(pure.init(key, x))
        params = collections.pop("params")

        def loss(params):
            return pure.loss({"params": params, **collections}, x, key)[0]

        return params, jax.grad(loss)(params)

    params, ours = gradients()
    both = updates(name, experiment, ours, params)
    medians = [np.median(np.abs(one[one != 0])) for one in both]
    np.testing.assert_allclose(*medians, rtol=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("pixel_cnn_pp_cifar10", marks=pytest.mark.slow),
        "gated_pixel_cnn_dynamic_mnist",
    ],
)
def test_the_size_of_the_loss_is_that_of_nats(name):
    """The factors above against log p itself."""
    authors, experiment = AUTHORS[name], load_config(CONFIGS / f"{name}.py")
    model = experiment.model.clone(**authors.changes)
    pure, key = functional(model), jax.random.key(0)
    x = jax.random.randint(key, (BATCH, *model.event.shape), 0, model.event.levels)
    variables = pure.init(key, x)
    nats = -np.asarray(pure.log_prob(variables, x), np.float64)
    unit = {"batch": nats.sum(), "example": nats.mean()}[experiment.optimizer.unit]
    loss = jnp.asarray(pure.loss(variables, x, key)[0])
    np.testing.assert_allclose(authors.size * float(loss), unit, rtol=1e-5)
