"""NADE and MADE against their papers' formulas: a loop in NumPy, autodiff, paths through masks, enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, random_events
from scipy import special

from gen_jax import MADE, NADE, InputError, MADEEnsemble, binary, functional, image, points
from gen_jax.laws.row import pooled_chi_square
from gen_jax.models.autoregressive import made
from gen_jax.ops import nade
from gen_jax.ops.masks import degree_mask
from gen_jax.ops.orders import Shuffled

pytestmark = pytest.mark.usefixtures("x64")


def oracle(params, x, order, levels):
    """log p(x) of one event, the definition: h_d from scratch for every d, one unit of the output at a time."""
    total = 0.0
    for d, place in enumerate(order):
        a = np.array(params["hidden_bias"])
        for earlier in range(d):
            value = x[order[earlier]]
            a += (
                value * params["kernel"][earlier, 0]
                if levels == 2
                else params["kernel"][earlier, value]
            )
        z = params["bias"][d] + params["out_kernel"][d] @ special.expit(a)
        logits = np.array([0.0, z[0]]) if levels == 2 else z
        total += logits[x[place]] - special.logsumexp(logits)
    return total


@pytest.mark.parametrize(("levels", "seed"), [(2, None), (2, 3), (4, 1)])
def test_nade_is_its_definition(levels, seed):
    model = NADE(image(3, 3, levels=levels), hidden=6, order_seed=seed)
    pure, variables = build(model)
    x = random_events(model, 5)
    params = jax.tree.map(np.asarray, variables["params"])
    order = model.sites[:, 0]
    assert sorted(order) == list(range(9))
    assert (list(order) == list(range(9))) == (seed is None)
    expected = [oracle(params, row, order, levels) for row in np.asarray(x).reshape(5, -1)]
    np.testing.assert_allclose(jax.jit(pure.log_prob)(variables, x), expected, rtol=1e-12)


@pytest.mark.parametrize("inputs", [1, 3])
def test_nade_gradient_is_that_of_the_plain_form(inputs):
    """The backward pass that undoes the sum against autodiff through all hidden layers at once."""
    rng, D, H, P, B = np.random.default_rng(0), 7, 5, inputs, 4
    kernel, out_kernel = rng.normal(size=(D, inputs, H)), rng.normal(size=(D, P, H))
    start, weights = rng.normal(size=(B, H)), jnp.asarray(rng.normal(size=(B, D, P)))
    x = jnp.asarray(rng.integers(0, max(2, inputs), (B, D)))

    def plain(kernel, out_kernel, start):
        u = x[..., None].astype(float) if inputs == 1 else jax.nn.one_hot(x, inputs, dtype=float)
        added = jnp.einsum("bdi,dih->bdh", u, kernel)
        a = start[:, None] + jnp.cumsum(added, axis=1) - added
        return jnp.einsum("bdh,dph->bdp", jax.nn.sigmoid(a), out_kernel)

    def loss(form, *args):
        return jnp.sum(weights * jnp.sin(form(*args)))

    fast = functools.partial(loss, lambda *args: nade.conditionals(*args, x))
    args = tuple(map(jnp.asarray, (kernel, out_kernel, start)))
    value, grads = jax.jit(jax.value_and_grad(fast, argnums=(0, 1, 2)))(*args)
    slow, expected = jax.jit(jax.value_and_grad(functools.partial(loss, plain), argnums=(0, 1, 2)))(
        *args
    )
    np.testing.assert_allclose(value, slow, rtol=1e-12)
    for one, other in zip(grads, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_nade_gradient_does_not_drift_in_float32():
    """784 additions undone: within 1e-4 of the largest gradient."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(784, 1, 8)), rng.normal(size=(784, 1, 8)), rng.normal(size=(3, 8))]
    x = jnp.asarray(rng.integers(0, 2, (3, 784)))
    grad = jax.jit(jax.grad(lambda *a: jnp.mean(nade.conditionals(*a, x) ** 2), argnums=(0, 1, 2)))
    exact = grad(*map(jnp.asarray, arrays))
    rounded = grad(*(jnp.asarray(array, jnp.float32) for array in arrays))
    for one, other in zip(rounded, exact, strict=True):
        assert one.dtype == jnp.float32
        assert np.abs(one - other).max() < 1e-4 * np.abs(other).max()


def test_orders_are_frozen():
    """A stream that changed would turn trained weights into noise."""
    assert list(Shuffled(0).places(1, 8)) == [6, 2, 1, 7, 3, 0, 5, 4]
    drawn = made.draw(6, (5,), (None, 1), 0)
    assert drawn.hidden[0].tolist() == [[2, 3, 1, 2, 2], [5, 3, 4, 2, 4]]


@pytest.mark.parametrize(("size", "hidden"), [(1, (3,)), (2, (4,)), (6, (5,)), (5, (4, 7, 3))])
def test_made_masks_against_every_path(size, hidden):
    """Walk every path from input to output by the paper's rule; none leads to the value itself or back."""
    seeds = (None, 5)
    drawn = made.draw(size, hidden, seeds, 2)
    for k, seed in enumerate(seeds):
        layers = [layer[k] for layer in drawn.hidden]
        least = 1
        for layer in layers:
            assert layer.min() >= least
            assert layer.max() <= max(1, size - 1)
            least = layer.min()
        found = np.zeros((size, size), bool)
        for source in range(size):
            for units in itertools.product(*map(range, hidden)):
                chain = [source + 1, *(layer[u] for layer, u in zip(layers, units, strict=True))]
                if all(m <= n for m, n in itertools.pairwise(chain)):
                    found[chain[-1] :, source] = True  # outputs of a degree above the last unit's
        assert not np.triu(found).any()
        if k == 0:
            np.testing.assert_array_equal(made.reach(size, hidden, seed, 2), found)
        for layer, units, starts, most in zip(
            layers, drawn.units, drawn.starts, drawn.most, strict=True
        ):
            for m in range(size):
                own = np.flatnonzero(layer == m)
                np.testing.assert_array_equal(units[k][starts[k, m] :][: len(own)], own)
                assert len(own) <= most


def test_a_mask_that_is_not_strict_is_caught(monkeypatch):
    """An output that sees its own value: probabilities no longer sum to 1, and the sites' influence shows it."""
    model = MADE(binary(4), hidden=(9,), direct=False)
    pure, variables = build(model)
    x = all_events(model)
    total = lambda: np.exp(pure.log_prob(variables, x)).sum()  # noqa: E731
    np.testing.assert_allclose(total(), 1.0, atol=1e-12)
    monkeypatch.setattr(made, "degree_mask", lambda a, b, strict: degree_mask(a, b, False))
    assert abs(total() - 1) > 1e-3


def test_made_ensemble_averages_joint_probabilities():
    """log 1/K sum_k p_k(x): sums to 1, is the mixture of MADEs of one mask each and no mean of logarithms."""
    model = MADEEnsemble(binary(5), hidden=(7, 6), num_masks=3, seed=4)
    pure, variables = build(model, scale=1.0)
    x = all_events(model)
    log_prob = np.asarray(jax.jit(pure.log_prob)(variables, x))
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, atol=1e-12)
    joint = jax.jit(functools.partial(model.apply, method="joint"))
    logs = np.stack([joint(variables, x, jnp.asarray(k)) for k in range(3)])
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(log_prob, np.log(np.exp(logs).mean(axis=0)), rtol=1e-12)
    assert np.abs(logs[0] - logs[1]).max() > 0.1
    first = MADE(binary(5), hidden=(7, 6), order_seed=4, mask_seed=4)
    alone = functional(first).log_prob({"params": variables["params"]["member"]}, x)
    np.testing.assert_allclose(alone, logs[0], rtol=1e-12)


def test_made_ensemble_samples_follow_the_mixture():
    """Chi-square of 20,000 draws, each under a mask of its own."""
    model, n = MADEEnsemble(image(1, 2, 2, 2), hidden=(6,), num_masks=3), 20_000
    pure, variables = build(model, scale=1.0)
    x = all_events(model)
    expected = n * np.exp(jax.jit(pure.log_prob)(variables, x))
    drawn = jax.jit(pure.sample, static_argnums=2)(variables, jax.random.key(3), n)
    assert drawn.shape == (n, 1, 2, 2)
    counts = np.bincount(np.asarray(drawn).reshape(n, -1) @ [8, 4, 2, 1], minlength=16)
    assert pooled_chi_square(counts, expected) > 1e-4


def test_made_ensemble_trains_under_every_mask():
    """The loss is the negative log-likelihood under one mask; the key draws which."""
    model = MADEEnsemble(binary(5), hidden=(7,), num_masks=3)
    pure, variables = build(model)
    x = random_events(model, 4)
    joint = [
        model.apply(variables, x, jnp.asarray(k), method="joint").mean() / -5 for k in range(3)
    ]
    losses = [float(pure.loss(variables, x, jax.random.key(s))[0]) for s in range(12)]
    assert {int(np.argmin(np.abs(np.array(joint) - loss))) for loss in losses} == {0, 1, 2}
    assert max(np.abs(np.array(joint) - loss).min() for loss in losses) < 1e-12
    assert not hasattr(model, "sites")


def test_refusals():
    x = jnp.zeros((1, 2), jnp.int32)
    for model in (
        NADE(binary(2), hidden=0),
        MADE(binary(2), hidden=()),
        MADE(points(), hidden=(3,)),
        MADEEnsemble(binary(2), num_masks=0),
    ):
        with pytest.raises(InputError):
            functional(model).init(jax.random.key(0), x)
