"""Probes: a GAN and a character LSTM pass, beside a VAE and a flow, through the same doors as everything else.

They are small on purpose and prove that `Density`, `TrainState`, `train_step` and `Likelihoods` need no special case.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import VAE, Event, InputError, RealNVP, binary, functional, points, tokens
from gen_jax.data.prepared import Split
from gen_jax.density import Density, bits_per_dim, fold_in
from gen_jax.evaluate.likelihood import Likelihoods
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.ops import categorical
from gen_jax.train import sharding
from gen_jax.train.optimizer import Adam
from gen_jax.train.step import create_state, train_step


class GAN(nn.Module):
    """Two players in one loss by stop_gradient; each sees only its own term."""

    event: Event
    num_classes: int = 0
    kind: ClassVar = "none"
    value: ClassVar = "exact"
    codec: ClassVar = "none"

    def setup(self):
        self.generator = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(self.event.size)])
        self.critic = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(1)])

    def loss(self, x, key, cond=None):
        fake = self.generator(jax.random.normal(key, (x.shape[0], 2)))
        if self.is_initializing():
            self.critic(x)
        module, variables = self.unbind()
        frozen = jax.lax.stop_gradient(variables)
        judge = functools.partial(module.apply, method=lambda m, x: m.critic(x))
        d = jnp.mean(
            nn.softplus(-judge(variables, x))
            + nn.softplus(judge(variables, jax.lax.stop_gradient(fake)))
        )
        g = jnp.mean(nn.softplus(-judge(frozen, fake)))
        return d + g, {"discriminator": d, "generator": g}

    def log_prob(self, x, key=None, cond=None):
        raise InputError("a GAN has no likelihood")

    def sample(self, key, n, cond=None, temperature=1.0):
        return self.generator(temperature * jax.random.normal(key, (n, 2)))


class Carry(nn.Module):
    """A value that goes from batch to batch."""

    @nn.compact
    def __call__(self, zero):
        return self.variable("carry", "state", lambda: zero)


class LSTM(nn.Module):
    """log p(x_t | x_<t) over characters; in training the carry goes from batch to batch, gradients stop at its edge."""

    event: Event
    features: int = 8
    num_classes: int = 0
    kind: ClassVar = "mass"
    value: ClassVar = "exact"
    codec: ClassVar = "direct"

    def setup(self):
        self.cell = nn.RNN(nn.OptimizedLSTMCell(self.features), return_carry=True)
        self.kept = Carry()
        self.out = nn.Dense(self.event.levels)

    def logits(self, x, carry):
        inputs = jnp.pad(nn.one_hot(x, self.event.levels)[:, :-1], ((0, 0), (1, 0), (0, 0)))
        carry, h = self.cell(inputs, initial_carry=carry)
        return carry, self.out(h)

    def zero(self, n):
        return (jnp.zeros((n, self.features)), jnp.zeros((n, self.features)))

    def loss(self, x, key, cond=None):
        kept = self.kept(self.zero(x.shape[0]))
        carry, logits = self.logits(x, jax.lax.stop_gradient(kept.value))
        if not self.is_initializing():
            kept.value = carry
        nats = -jnp.mean(jnp.sum(categorical.log_prob(logits, x), axis=-1))
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event)}

    def log_prob(self, x, key=None, cond=None):
        return jnp.sum(categorical.log_prob(self.logits(x, self.zero(x.shape[0]))[1], x), axis=-1)

    def sample(self, key, n, cond=None, temperature=1.0):
        x = jnp.zeros((n, *self.event.shape), jnp.int32)
        for i in range(self.event.size):
            logits = self.logits(x, self.zero(n))[1][:, i]
            x = x.at[:, i].set(categorical.sample(logits, fold_in(key, i), temperature))
        return x


@dataclass(frozen=True)
class TwoPlayers:
    """One optimiser for each player, by the first name in the parameter's path."""

    accumulate: int = 1

    def build(self):
        label = functools.partial(jax.tree_util.tree_map_with_path, lambda path, _: path[0].key)
        return optax.multi_transform(
            {"generator": optax.adam(1e-2), "critic": optax.adam(2e-2)}, label
        )


def integers(event, n=64):
    x = jax.random.randint(jax.random.key(1), (n, *event.shape), 0, event.levels)
    return np.asarray(x.at[:, 1:].set(jnp.minimum(x[:, 1:], x[:, :-1])))


POINTS = np.asarray(jax.random.normal(jax.random.key(1), (64, 2)) * jnp.array([2.0, 0.3]) + 1.0)
PROBES = {
    "vae": (
        VAE(binary(4), latent=2, encoder=DenseEncoder((8,)), decoder=DenseDecoder((16,))),
        integers(binary(4)),
        Adam(1e-2),
        300,
    ),
    "flow": (RealNVP(depth=4, hidden=(16,)), POINTS, Adam(1e-2), 100),
    "gan": (GAN(points()), POINTS, TwoPlayers(), 100),
    "lstm": (LSTM(tokens(5, 3)), integers(tokens(5, 3)), Adam(1e-2), 100),
}
every_probe = pytest.mark.parametrize(
    ("model", "x", "optimizer", "steps"), PROBES.values(), ids=PROBES.keys()
)


@functools.cache
def trained(name):
    model, x, optimizer, steps = PROBES[name]
    pure, chain, key = functional(model), optimizer.build(), jax.random.key(0)
    batch = {"x": jnp.asarray(x), "cond": None}
    first = jax.jit(functools.partial(create_state, pure, chain, key))(batch)
    step = jax.jit(functools.partial(train_step, model=pure, optimizer=chain, key=key, ema=0.9))
    state, losses = first, []
    for _ in range(steps):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return first, state, losses


@pytest.mark.parametrize("name", PROBES)
def test_trains_through_the_one_step(name):
    """Every parameter moves and, where there is one objective, the loss falls; the structure of the state stays."""
    model = PROBES[name][0]
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
    model, x, _, _ = PROBES[name]
    _, state, _ = trained(name)
    variables = {"params": state.params, **state.collections}
    split = Split("probe", "1.0.0", "test", x, None, model.event, 0)
    mesh = sharding.data_mesh(jax.device_count())
    evaluate = Likelihoods(functional(model), mesh, 24, jax.random.key(0))
    first, second = evaluate(variables, split), evaluate(variables, split)
    assert len(first.per_example) == len(x)
    np.testing.assert_array_equal(first.per_example, second.per_example)
    assert str(first).startswith("<= ") == (model.value == "bound")


def test_gan_has_no_bits():
    with pytest.raises(InputError, match="no likelihood"):
        Likelihoods(functional(PROBES["gan"][0]), sharding.data_mesh(8), 8, jax.random.key(0))


def test_carry_is_state():
    """The LSTM's carry is part of the train state, changes from step to step and is split over the batch."""
    first, last, _ = trained("lstm")
    assert np.any(
        np.asarray(first.collections["carry"]["kept"]["state"][0])
        != np.asarray(last.collections["carry"]["kept"]["state"][0])
    )
    placed = sharding.state_sharding(last, sharding.data_mesh(64))
    assert placed.collections["carry"]["kept"]["state"][0].spec == jax.sharding.PartitionSpec(
        "data"
    )
    assert placed.params["out"]["kernel"].spec == jax.sharding.PartitionSpec()
