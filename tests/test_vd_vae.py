"""VDVAE: block strings, parameters and groups of the paper, scan against steps, unit sum of three groups, collapse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, random_events

from gen_jax import VDVAE, InputError, functional, image
from gen_jax.density import num_parameters
from gen_jax.models.latent.base import visit
from gen_jax.models.latent.vd_vae import Run, runs

SIZES = {"width": 4, "bottleneck": 0.5, "latent": 1, "mixtures": None}
TINY = VDVAE(image(2, 2, 1, 2), encoder="2x1,2d2,1x1", decoder="1x1,2m1,2x1", **SIZES)
DEEP = VDVAE(
    image(4, 4, 1, 3), encoder="4x2,4d2,2d2,1", decoder="1x2,2m1,4m2,4x3",
    width=6, bottleneck=0.5, latent=2, mixtures=2,
)  # fmt: skip


def narrow(model):
    """Random variables with posteriors near their priors and wider, so that weights have a finite variance."""
    pure, variables = build(model, scale=0.3)
    params = dict(variables["params"])
    for name in params:
        if name.startswith("down"):
            last = jax.tree.map(lambda leaf: 0.3 * leaf, params[name]["posterior"]["Conv_3"])
            last["bias"] = last["bias"].at[..., model.latent :].add(0.7)
            params[name]["posterior"]["Conv_3"] = last
    return pure, {**variables, "params": params}


def test_runs_of_a_string():
    assert runs("32x11,32d2, 4m1,7") == (Run(32, 11), Run(32, 1, 2), Run(4, 1, 1, 1), Run(7, 1))


def test_the_network_of_the_paper():
    """39,145,700 parameters, 43 groups, 412,432 latents an image: counted from the authors' code."""
    model = VDVAE(image(32, 32, 3))
    x = jnp.zeros((1, 32, 32, 3), jnp.int32)
    shapes = jax.eval_shape(functional(model).init, jax.random.key(0), x)
    assert num_parameters(model, shapes) == 39_145_700
    assert len(model.groups) == 43
    assert sum(np.prod(group.shape) for group in model.groups) == 412_432


def test_initial_weights():
    """The prior of each block begins as N(0, I) and adds nothing; what blocks add is shrunk by sqrt(1 / blocks)."""
    model = VDVAE(
        image(4, 4, 1, 2), encoder="4x9", decoder="4x16", width=32, bottleneck=0.5, latent=3, mixtures=None
    )  # fmt: skip
    params = jax.jit(functional(model).init)(jax.random.key(0), random_events(model, 1))["params"]
    down, up = params["down_0"], params["up_0"]
    assert not np.any(down["prior"]["Conv_3"]["kernel"])
    for kernel, inputs, blocks in (
        (up["Conv_3"]["kernel"], 16, 9),
        (down["residual"]["Conv_3"]["kernel"], 16, 16),
        (down["project"]["kernel"], 3, 16),
        (down["posterior"]["Conv_3"]["kernel"], 16, 1),
        (down["posterior"]["Conv_1"]["kernel"], 9 * 16, 1),
    ):
        limit = 1 / np.sqrt(inputs * blocks)
        assert 0.95 * limit < np.abs(kernel).max() <= limit
        assert len(np.unique(kernel)) > 0.9 * kernel.size  # blocks of a run differ


@pytest.mark.usefixtures("x64")
def test_scanned_blocks_are_the_blocks():
    """Latents, their terms and the image's parameters are those of one group after the other."""
    _, variables = build(DEEP)
    x, key = random_events(DEEP, 3), jax.random.key(0)

    def choose(k, group, p, q):
        z, log_q = group.draw(q, group.noise(jax.random.fold_in(key, k), 3))
        return z, (group.log_prob(p, z) - log_q, group.kl(q, p))

    def both(module):
        states = []
        for visited in (module.visit, functools.partial(visit, module)):
            state, collected = visited(module.begin(3, x), choose)
            states.append((module.decode(state), collected))
        return states

    scanned, stepped = jax.jit(lambda v: DEEP.apply(v, method=both))(variables)
    assert len(scanned[1]) == len(DEEP.groups) == 7
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), scanned, stepped
    )


@pytest.mark.usefixtures("x64")
def test_unit_sum_of_three_groups(monkeypatch):
    """sum_x E_q [p(x, z) / q(z | x)] = 1 over all 16 images; with a group's KL scaled it is not."""
    pure, variables = narrow(TINY)
    x = jnp.asarray(all_events(TINY))

    def total():
        one = jax.jit(lambda key: jnp.exp(pure.log_prob(variables, x, key, draws=100)).sum())
        sums = np.array([one(jax.random.key(k)) for k in range(50)])
        return abs(sums.mean() - 1), sums.std(ddof=1) / np.sqrt(50)

    apart, error = total()
    assert error < 0.05
    assert apart < 4 * error
    right = VDVAE.visit

    def last_counted_thrice(self, *args, **options):
        state, collected = right(self, *args, **options)
        return state, [*collected[:-1], jax.tree.map(lambda term: 3 * term, collected[-1])]

    monkeypatch.setattr(VDVAE, "visit", last_counted_thrice)
    apart, error = total()
    assert apart > 10 * error


@pytest.mark.usefixtures("x64")
def test_more_draws_and_the_loss():
    """L_1 <= L_20 <= L_500; the loss is -L_1 per dimension, its KL that of the draws."""
    pure, variables = narrow(TINY)
    x = jnp.repeat(jnp.array([[[[1], [0]], [[0], [1]]]]), 1000, axis=0)
    bound = jax.jit(pure.log_prob, static_argnames="draws")
    means = []
    for draws in (1, 20, 500):
        values = np.asarray(
            bound(variables, x[: 1000 if draws == 1 else 100], jax.random.key(draws), draws=draws)
        )
        means.append((values.mean(), values.std() / np.sqrt(len(values))))
    assert means[0][0] < means[1][0] + 4 * means[1][1]
    assert means[1][0] < means[2][0] + 4 * means[2][1]
    loss, (metrics, _) = jax.jit(pure.loss)(variables, x, jax.random.key(1))
    np.testing.assert_allclose(loss, (metrics["reconstruction"] + metrics["kl"]) / 4)
    assert abs(4 * loss + means[0][0]) < 6 * means[0][1]


def test_collapse_is_named_by_group():
    kl = np.tile([[0.0, 1.0, 0.05]], (8, 1))
    location = np.random.default_rng(0).normal(size=(8, 1 + 4 + 4)) * np.repeat(
        [0, 1, 0.01], [1, 4, 4]
    )
    measured = {"kl": kl, "reconstruction": np.ones(8), "location": location}
    scalars, findings = TINY.diagnosis(measured)
    assert scalars["active_units"] == 4
    assert (scalars["kl_1"], scalars["kl_2"], scalars["kl"]) == pytest.approx((0, 1, 1.05))
    assert (
        "posterior collapse of groups 1, 3: KL 0.050 nats, none of 5"
        in findings["posterior collapse"]
    )
    _, variables = build(TINY)
    x = random_events(TINY, 5)
    shapes = jax.eval_shape(
        functools.partial(TINY.apply, variables, method="measure"), x, jax.random.key(0)
    )
    assert {name: leaf.shape for name, leaf in shapes.items()} == {
        "kl": (5, 3), "reconstruction": (5,), "location": (5, 9)
    }  # fmt: skip
    assert VDVAE(image(32, 32, 3)).measured(42).size == 4096 // 43


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"event": image(2, 4, 1, 2)}, "square images"),
        ({"encoder": "2x1,2q2"}, "'2q2' is no block"),
        ({"encoder": "2x0"}, "has a zero"),
        ({"encoder": "4x1"}, "begins, and a decoder that ends, at the image's side 2"),
        ({"encoder": "2x1,1x1"}, "follows a map of 2"),
        ({"decoder": "1x1,4m1,2x1"}, "has no activations of the encoder"),
        ({"decoder": "2m1,2x1"}, "adds the map of 1 before it has one"),
        ({"bottleneck": 0.1}, "width x bottleneck of at least 1"),
    ],
)
def test_impossible_networks_are_refused(changes, sentence):
    model = TINY.clone(**changes)
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
