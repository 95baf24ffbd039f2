"""The quantiser against brute force, gradients of its losses, averages against k-means, eight devices against one."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from test_devices import mesh_of
from test_experiment import CONFIGS

from gen_jax import VQVAE, InputError, binary, functional, image, sharding
from gen_jax.density import num_parameters
from gen_jax.experiment import load_config
from gen_jax.nn.codebook import Codebook
from gen_jax.ops import vq
from gen_jax.runs.state import create_state
from gen_jax.train.pmap import pmapped
from gen_jax.train.step import train_step, train_steps

KEY = jax.random.key(0)
NET = {"strided": (3,), "blocks": 1, "residual": 2, "codes": 4, "size": 2}


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.usefixtures("x64")
def test_nearest_is_brute_force():
    z, codebook = random(3, 50, 4), random(7, 4, seed=1)
    distances = np.sum((z[..., None, :] - codebook) ** 2, axis=-1)
    np.testing.assert_array_equal(vq.nearest(z, codebook), distances.argmin(axis=-1))


def test_ties_go_to_the_lowest():
    """Whole numbers, so that equal distances are equal floats; every code stands there twice."""
    rng = np.random.default_rng(0)
    z, codebook = (rng.integers(-2, 3, shape).astype(np.float32) for shape in ((400, 2), (6, 2)))
    z, codebook = jnp.asarray(z), jnp.concatenate([codebook, codebook[::-1]])
    distances = np.sum((z[:, None] - codebook) ** 2, axis=-1)
    assert np.sum(distances == distances.min(axis=1, keepdims=True)) > 900
    np.testing.assert_array_equal(vq.nearest(z, codebook), distances.argmin(axis=1))


def test_straight_through_gives_the_code_and_takes_the_gradient():
    z, e = (random(5, 3, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(vq.straight_through(z, e), e)
    to_z, to_e = jax.jacobian(vq.straight_through, argnums=(0, 1))(z, e)
    np.testing.assert_array_equal(to_z.reshape(15, 15), np.eye(15))
    assert not np.any(to_e)


def test_each_loss_moves_its_own_side():
    z, e = (random(5, 3, seed=seed) for seed in (0, 1))
    for loss, still, slope in ((vq.codebook_loss, 0, e - z), (vq.commitment_loss, 1, z - e)):
        grads = jax.grad(loss, argnums=(0, 1))(z, e)
        assert not np.any(grads[still])
        np.testing.assert_allclose(grads[1 - still], 2 * slope / 15, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_averages_without_memory_are_the_step_of_k_means():
    z, codebook = random(60, 2), random(4, 2, seed=1)
    codes = vq.nearest(z, codebook)
    means = np.stack([z[codes == j].mean(axis=0) for j in range(4)])
    before = vq.Uses(jnp.full(4, 0.25), codebook / 4)
    batch = vq.uses(z, codes, 4)
    np.testing.assert_allclose(vq.vectors(vq.averaged(before, batch, 0.0), 0.0), means, rtol=1e-12)
    np.testing.assert_allclose(batch.shares, np.bincount(codes, minlength=4) / 60)
    half = vq.vectors(vq.averaged(before, batch, 0.5), 0.0)
    sums, shares = 30 * codebook / 4 + 0.5 * means * np.bincount(codes)[:, None], np.bincount(codes)
    np.testing.assert_allclose(half, sums / (7.5 + 0.5 * shares)[:, None])


def test_smoothing_is_laplaces():
    counts = np.array([0.0, 1.0, 5.0, 4.0])
    found = vq.smoothed(jnp.asarray(counts), 0.5)
    np.testing.assert_allclose(found, (counts + 0.5) / (10 + 4 * 0.5) * 10, rtol=1e-6)
    np.testing.assert_allclose(found.sum(), 10, rtol=1e-6)


def test_an_unused_code_is_smoothed_by_a_share_of_even_use():
    """Laplace's rule with 1e-5 of even use, 1 / K: an unused code divides by 1e-5 / K over 1 + 1e-5."""
    model = VQVAE(image(4, 4, 1, 3), **NET)
    shares, sums = jnp.array([0.75, 0.25, 0.0, 0.0]), jnp.full((4, 2), 1e-6)
    found = model.apply(
        {"codebook": {"codebook": {"shares": shares, "sums": sums}}},
        method=lambda model: model.codebook.vectors,
    )
    smooth = (np.array([0.75, 0.25, 0, 0]) + 1e-5 / 4) / (1 + 1e-5)
    np.testing.assert_allclose(found, 1e-6 / smooth[:, None].repeat(2, axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("shares", "expected"), [([0.25] * 4, 4), ([1, 0, 0, 0], 1), ([0, 0.5, 0, 0.5], 2)]
)
def test_perplexity_counts_codes_in_use(shares, expected):
    np.testing.assert_allclose(vq.perplexity(jnp.array(shares, jnp.float32)), expected, rtol=1e-6)


def test_dead_codes_begin_anew_at_vectors_of_the_batch():
    z = random(30, 2)
    before = vq.Uses(jnp.array([0.6, 0.0, 0.4, 1e-9]), random(4, 2, seed=1))
    dead = before.shares < 0.01
    after = vq.restarted(before, dead, z, KEY)
    np.testing.assert_allclose(after.shares, [0.6, 0.25, 0.4, 0.25])
    np.testing.assert_array_equal(after.sums[::2], before.sums[::2])
    for vector in np.asarray(after.sums[1::2] / 0.25):
        assert np.any(np.all(np.isclose(z, vector), axis=1))
    assert np.any(after.sums[1] != after.sums[3])


def test_an_unused_code_is_restarted_in_training():
    """A code is replaced only after its share falls below the limit, by an encoder output of that step."""
    model = VQVAE(image(4, 4, 1, 3), **NET, decay=0.5, restart=0.1)
    pure = functional(model)
    x = jax.random.randint(KEY, (8, 4, 4, 1), 0, 3)
    variables = jax.jit(pure.init)(KEY, x)
    far = {"shares": jnp.array([0.9, 0.04, 0.03, 0.03]), "sums": jnp.full((4, 2), 50.0)}
    far["sums"] = far["sums"].at[0].set(0.0).at[3].set(75.0)
    found = jax.jit(pure.loss)({**variables, "codebook": {"codebook": far}}, x, KEY)[1][1]
    after = found["codebook"]["codebook"]
    np.testing.assert_allclose(after["shares"], [0.95, 0.02, 0.015, 0.015], atol=1e-6)
    few = {**far, "shares": jnp.array([0.9, 0.05, 0.03, 0.02])}
    found = jax.jit(pure.loss)({**variables, "codebook": {"codebook": few}}, x, KEY)[1][1]
    after = found["codebook"]["codebook"]
    np.testing.assert_allclose(after["shares"], [0.95, 0.025, 0.015, 0.25], atol=1e-6)
    outputs = model.apply(variables, x, method="encode").reshape(-1, 2)
    assert np.any(np.all(np.isclose(outputs, after["sums"][3] / 0.25, atol=1e-5), axis=1))


def test_a_decay_of_zero_keeps_nothing():
    """One loss and the codes are the means of what took them: the step of k-means by the model itself."""
    model = VQVAE(image(4, 4, 1, 3), **NET, decay=0.0)
    pure, x = functional(model), jax.random.randint(KEY, (8, 4, 4, 1), 0, 3)
    variables = jax.jit(pure.init)(KEY, x)
    outputs = model.apply(variables, x, method="encode").reshape(-1, 2)
    codes = model.apply(variables, x, method="parts")[0].reshape(-1)
    after = jax.jit(pure.loss)(variables, x, KEY)[1][1]["codebook"]["codebook"]
    for code in np.unique(codes):
        mean = np.mean(outputs[codes == code], axis=0)
        np.testing.assert_allclose(after["sums"][code] / after["shares"][code], mean, rtol=1e-4)


def encoder_gradient(model, variables, x):
    def loss(params):
        return functional(model).loss({**variables, "params": params}, x, KEY)[0]

    return jax.jit(jax.grad(loss))(variables["params"])["encoder"]


def test_the_codebook_loss_does_not_reach_the_encoder(monkeypatch):
    """The encoder's gradient is that without this loss."""
    model = VQVAE(image(4, 4, 1, 3), **NET, decay=None)
    x = jax.random.randint(KEY, (4, 4, 4, 1), 0, 3)
    variables = jax.jit(functional(model).init)(KEY, x)
    found = encoder_gradient(model, variables, x)
    assert optax.tree.norm(found) > 1e-3
    monkeypatch.setattr(vq, "codebook_loss", lambda z, e: 0.0)
    expected = encoder_gradient(model, variables, x)
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


class Quantised(nn.Module):
    """A linear encoder and a codebook, nothing else."""

    @nn.compact
    def loss(self, x, key, cond=None):
        codebook, z = Codebook(4, 2, 0.5, 0.0), nn.Dense(2)(x)
        codes = codebook.nearest(z)
        used = vq.uses(z, codes, 4)
        value = vq.commitment_loss(z, codebook(codes))
        if not self.is_initializing():
            codebook.update(z, used, key)
        return value, {"perplexity": vq.perplexity(used.shares)}


def stepped(devices, parallel):
    """Parameters and codebook after a step of SGD over 24 rows."""
    pure, optimizer, mesh = functional(Quantised()), optax.sgd(0.2), mesh_of(devices)
    x = np.random.default_rng(0).normal(size=(1, 24, 3)).astype(np.float32)
    create = functools.partial(create_state, pure, optimizer, KEY)
    before = jax.jit(create)({"x": x[0], "cond": None})
    placed = sharding.state_sharding(before, mesh)
    one = functools.partial(train_step, model=pure, optimizer=optimizer, key=KEY, ema=0.9)
    if parallel == "pmap":
        run = pmapped(one, mesh, placed)
    else:
        whole = NamedSharding(mesh, P())
        run = jax.jit(functools.partial(train_steps, step=one), out_shardings=(placed, whole))
    batches = sharding.put({"x": x, "cond": None}, mesh, sharding.STEPS)
    after = jax.device_get(run(jax.device_put(before, placed), batches)[0])
    [average] = after.collections["codebook"].values()
    assert np.max(np.abs(average["shares"] - 0.25)) > 0.05
    return after.params, average["sums"] / average["shares"][:, None]


def test_averages_are_of_the_whole_batch_on_eight_devices(monkeypatch):
    """Updates under jit and pmap equal those of one device; quotients taken by each device alone would show."""
    alone = stepped(1, "jit")
    for parallel in ("jit", "pmap"):
        chex.assert_trees_all_close(stepped(8, parallel), alone, rtol=1e-4, atol=1e-6)

    def by_itself(self, z, used, key):
        after = vq.averaged(self.average, used, self.decay)
        self.shares.value = after.shares
        self.sums.value = vq.vectors(after, 1e-9) * jnp.mean(after.shares)

    monkeypatch.setattr(Codebook, "update", by_itself)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(stepped(8, "pmap")[1], alone[1], rtol=1e-2)


def conv(kernel, inputs, outputs):
    return kernel**2 * inputs * outputs + outputs


def test_parameter_count_on_cifar10():
    """By hand from the paper's layers: 256 features, 8x8x10 codes; 512 vectors of 64 numbers follow by averages."""
    model = load_config(CONFIGS / "vq_vae_cifar10.py").model
    assert model.code_event.shape == (8, 8, 10)
    blocks = 2 * (conv(3, 256, 256) + conv(1, 256, 256))
    encoder = conv(4, 3, 256) + conv(4, 256, 256) + conv(3, 256, 256) + blocks + conv(1, 256, 640)
    decoder = conv(3, 640, 256) + blocks + conv(4, 256, 256) + conv(4, 256, 100)
    x = jnp.zeros((1, 32, 32, 3), jnp.int32)
    shapes = jax.eval_shape(functional(model).init, KEY, x)
    codebook = 512 * 64
    assert num_parameters(model, shapes) == encoder + decoder + codebook
    assert shapes["codebook"]["codebook"]["sums"].shape == (512, 64)
    prior = load_config(CONFIGS / "vq_vae_prior_cifar10.py").model
    shapes = jax.eval_shape(functional(prior).init, KEY, x)
    own = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert num_parameters(prior, shapes) == own + encoder + decoder + codebook


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (VQVAE(image(6, 6)), "sides that 4 divides"),
        (VQVAE(binary(6)), r"sides that 4 divides, not \(6,\)"),
        (VQVAE(image(4, 4), size=0), "groups and features of at least 1"),
        (VQVAE(image(4, 4), decay=1.0), "decay and restart in"),
        (VQVAE(image(4, 4), decay=None, restart=0.1), "give it a decay"),
    ],
)
def test_impossible_sizes_are_refused(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functools.partial(functional(model).init, KEY), x)
