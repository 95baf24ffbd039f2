"""A system of every kind through the same doors: a latent model, a flow, two players, a carry over batches.

`Density`, `TrainState`, `train_step` and `Likelihoods` need no special case for any of them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import (
    GAN,
    LSTM,
    VAE,
    InputError,
    RealNVP,
    binary,
    functional,
    points,
    sharding,
    tokens,
)
from gen_jax.data.prepared import Split
from gen_jax.density import Density
from gen_jax.models.adversarial.gan import DenseDiscriminator, DenseGenerator
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.optimizer import Adam, OptimizerGroups
from gen_jax.runs.likelihood import Likelihoods
from gen_jax.runs.state import create_state
from gen_jax.train.step import train_step


def integers(event, n=64):
    x = jax.random.randint(jax.random.key(1), (n, *event.shape), 0, event.levels)
    return np.asarray(x.at[:, 1:].set(jnp.minimum(x[:, 1:], x[:, :-1])))


POINTS = np.asarray(jax.random.normal(jax.random.key(1), (64, 2)) * jnp.array([2.0, 0.3]) + 1.0)
PLAYERS = GAN(
    points(),
    latent=2,
    generator=DenseGenerator((16,)),
    discriminator=DenseDiscriminator((16,)),
)
BOTH = OptimizerGroups(("generator", "discriminator"), (Adam(1e-2), Adam(2e-2)))
SYSTEMS = {
    "vae": (
        VAE(binary(4), latent=2, encoder=DenseEncoder((8,)), decoder=DenseDecoder((16,))),
        integers(binary(4)),
        Adam(1e-2),
        300,
    ),
    "flow": (RealNVP(depth=4, hidden=(16,)), POINTS, Adam(1e-2), 100),
    "gan": (PLAYERS, POINTS, BOTH, 100),
    "lstm": (
        LSTM(tokens(5, 3), features=8, depth=1, carry=True),
        integers(tokens(5, 3)),
        Adam(1e-2),
        100,
    ),
}


@functools.cache
def trained(name):
    model, x, optimizer, steps = SYSTEMS[name]
    pure, chain, key = functional(model), optimizer.build(), jax.random.key(0)
    batch = {"x": jnp.asarray(x), "cond": None}
    first = jax.jit(functools.partial(create_state, pure, chain, key))(batch)
    step = jax.jit(functools.partial(train_step, model=pure, optimizer=chain, key=key, ema=0.9))
    state, losses = first, []
    for _ in range(steps):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return first, state, losses


@pytest.mark.parametrize("name", SYSTEMS)
def test_trains_through_the_one_step(name):
    """Every parameter moves and, where there is one objective, the loss falls; the structure of the state stays."""
    model = SYSTEMS[name][0]
    first, last, losses = trained(name)
    assert isinstance(model, Density)
    assert jax.tree.structure(first) == jax.tree.structure(last)
    for before, after in zip(
        jax.tree.leaves(first.params), jax.tree.leaves(last.params), strict=True
    ):
        assert np.any(np.asarray(before) != np.asarray(after))
    assert np.all(np.isfinite(losses))
    if model.kind != "none":
        assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.05


@pytest.mark.parametrize("name", ["vae", "flow", "lstm"])
def test_evaluates_through_the_one_protocol(name):
    """Same number twice, whatever the number of devices; a bound says that it is one."""
    model, x, _, _ = SYSTEMS[name]
    _, state, _ = trained(name)
    variables = {"params": state.params, **state.collections}
    split = Split("some", "1.0.0", "test", x, None, model.event, 0)
    mesh = sharding.device_mesh(jax.device_count())
    evaluate = Likelihoods(functional(model), mesh, 24, jax.random.key(0))
    first, second = evaluate(variables, split), evaluate(variables, split)
    assert len(first.per_example) == len(x)
    np.testing.assert_array_equal(first.per_example, second.per_example)
    assert str(first).startswith("<= ") == (model.value == "bound")


def test_gan_has_no_bits():
    with pytest.raises(InputError, match="no likelihood"):
        Likelihoods(functional(SYSTEMS["gan"][0]), sharding.device_mesh(8), 8, jax.random.key(0))


def test_carry_is_state():
    """The LSTM's carry is part of the train state, changes from step to step and is split over the batch."""
    first, last, _ = trained("lstm")
    before, after = (jax.tree.leaves(state.collections["carry"])[-1] for state in (first, last))
    assert np.any(np.asarray(before) != np.asarray(after))
    placed = sharding.state_sharding(last, sharding.device_mesh(64))
    split, whole = sharding.ROWS, jax.sharding.PartitionSpec()
    assert {leaf.spec for leaf in jax.tree.leaves(placed.collections["carry"])} == {split}
    assert {leaf.spec for leaf in jax.tree.leaves(placed.params)} == {whole}
