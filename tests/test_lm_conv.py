"""LMConv: the operation by loops, masks by ranks, every order of the same weights, the mixture, planted mistakes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, all_events, build, random_events
from scipy.special import logsumexp

from gen_jax import (
    Hilbert,
    InputError,
    LMConv,
    ObservedFirst,
    Raster,
    SCurve,
    Shuffled,
    functional,
    image,
)
from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS
from gen_jax.laws import autoregressive as laws
from gen_jax.laws.subject import Subject
from gen_jax.models.autoregressive.base import ancestral, prefix_length
from gen_jax.ops import local_mask
from gen_jax.ops.local_mask import local_conv, read_places, tables

pytestmark = pytest.mark.usefixtures("x64")
H, W = 4, 5
TINY = {"features": 4, "resnets": 0}
KEEP = np.array([[1, 0, 0], [0, 1, 0]], bool)
ORDERS = {
    "raster": Raster(),
    "s_curve": SCurve(5),
    "hilbert": Hilbert(2),
    "shuffled": Shuffled(4),
    "observed_first": ObservedFirst.of(SCurve(3), np.indices((H, W)).sum(axis=0) % 3 == 0),
}


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def mask_of(order, dilation, own):
    """By the rule: a neighbour is read if it lies inside and comes earlier, or is the place itself."""
    rank = np.argsort(order.places(H, W)).reshape(H, W)
    mask = np.zeros((H, W, 9), bool)
    for r in range(H):
        for c in range(W):
            for tap in range(9):
                row, column = r + dilation * (tap // 3 - 1), c + dilation * (tap % 3 - 1)
                if 0 <= row < H and 0 <= column < W:
                    earlier = rank[row, column] < rank[r, c]
                    mask[r, c, tap] = earlier or (own and tap == 4)
    return mask


def by_loops(x, kernel, mask, dilation):
    y = np.zeros((len(x), H, W, kernel.shape[-1]))
    for r, c, tap in np.argwhere(mask):
        row, column = r + dilation * (tap // 3 - 1), c + dilation * (tap % 3 - 1)
        y[:, r, c] += x[:, row, column] @ kernel[tap]
    return y


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_masks_are_those_of_the_ranks(order):
    masks = tables((Raster(), order), H, W).masks
    assert np.array_equal(masks.first[1], mask_of(order, 1, own=False))
    assert np.array_equal(masks.near[1], mask_of(order, 1, own=True))
    assert np.array_equal(masks.far[1], mask_of(order, 2, own=True))


@pytest.mark.parametrize(("dilation", "images"), [(1, 2), (2, 2), (2, 1)])
def test_the_operation_and_its_gradient(dilation, images, monkeypatch):
    """Values by loops; gradients are those of autodiff through one convolution for each tap, also in a loop."""
    monkeypatch.setattr(local_mask, "_together", lambda *shape: images)
    masks = np.stack([mask_of(order, dilation, own=True) for order in (SCurve(1), Shuffled(0))])
    x, kernel, dy = normal(0, 2, H, W, 3), normal(1, 9, 3, 4), normal(2, 2, H, W, 4)
    for mask in (masks[0], masks):  # one for all examples, or one for each

        def ours(x, kernel, mask=mask):
            return local_conv(x, kernel, jnp.asarray(mask), dilation)

        def plain(x, kernel, mask=mask):
            one_hot = jnp.eye(9).reshape(9, 3, 3)
            taps = [
                jax.lax.conv_general_dilated(
                    x, one_hot[t][..., None, None] * kernel[t], (1, 1), [(dilation, dilation)] * 2,
                    rhs_dilation=(dilation,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"),
                ) * mask[..., t, None]
                for t in range(9)
            ]  # fmt: skip
            return sum(taps)

        each = mask if mask.ndim == 4 else [mask, mask]
        loops = [by_loops(x[i : i + 1], kernel, each[i], dilation)[0] for i in range(2)]
        np.testing.assert_allclose(ours(x, kernel), loops, atol=1e-12)
        value, back = jax.vjp(ours, x, kernel)
        expected, plain_back = jax.vjp(plain, x, kernel)
        np.testing.assert_allclose(value, expected, atol=1e-12)
        for one, other in zip(back(dy), plain_back(dy), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_a_site_reads_its_open_taps_only():
    order = Shuffled(2)
    every, read = tables((order,), H, W), read_places(H, W, 2)
    mask, kernel, x = every.masks.far[0], normal(1, 9, 3, 4), normal(0, 2, H, W, 3)
    whole = local_conv(x, kernel, jnp.asarray(mask), 2).reshape(2, H * W, 4)
    for site, place in enumerate(every.places[0]):
        reads = local_mask.Reads(*(part[0, site] for part in every.visits.far))
        assert sorted(reads.places[reads.places < H * W]) == sorted(
            read[place][mask.reshape(-1, 9)[place]]
        )
        plane = jnp.full((H * W + 1, 2, 3), jnp.nan).at[reads.places].set(0)
        known = reads.places[reads.places < H * W]
        plane = plane.at[known].set(jnp.swapaxes(x.reshape(2, H * W, 3)[:, known], 0, 1))
        y = local_mask.local_conv_site(plane, kernel, *map(jnp.asarray, reads))
        np.testing.assert_allclose(y, whole[:, place], atol=1e-12)
    most = [
        tables((order,), 28, 28).visits.near.taps.shape[-1] for order in (SCurve(), Shuffled(0))
    ]
    assert most == [5, 9]


@functools.cache
def same_weights():
    model = LMConv(
        image(2, 3, 1, 3), **TINY, mixtures=None, orders=(SCurve(0), SCurve(6), Shuffled(1))
    )
    _, variables = build(model)
    return model, variables, all_events(model)


def by_order(order):
    model, variables, x = same_weights()
    return np.asarray(functional(model.clone(order=order)).log_prob(variables, x))


def test_the_same_weights_are_a_mass_in_every_order():
    logs = [
        by_order(order)
        for order in (SCurve(0), Hilbert(5), Shuffled(8), ObservedFirst.of(Raster(), KEEP))
    ]
    for log_prob in logs:
        assert abs(logsumexp(log_prob)) < 1e-12
    assert np.abs(logs[0] - logs[1]).max() > 0.01


def test_bits_of_a_hidden_part_are_those_of_bayes_rule():
    """log p(hidden | kept) by sites is log p(x) less log of the sum over all hidden values."""
    model, variables, x = same_weights()
    model = model.clone(order=ObservedFirst.of(SCurve(1), KEEP))
    known = prefix_length(model, KEEP[..., None])
    sites = np.asarray(model.apply(variables, jnp.asarray(x), method="log_prob_sites"))
    joint = sites.sum(axis=1)
    kept = x[:, KEEP][..., 0] @ [3, 1]
    total = np.array([logsumexp(joint[kept == value]) for value in range(9)])
    assert known == 2
    np.testing.assert_allclose(sites[:, known:].sum(axis=1), joint - total[kept], atol=1e-12)


def test_completions_have_the_conditional_frequencies():
    model, variables, x = same_weights()
    model, n = model.clone(order=ObservedFirst.of(SCurve(1), KEEP)), 8000
    keep = np.broadcast_to(KEEP[..., None], model.event.shape)
    given = jnp.broadcast_to(x[500], (n, *model.event.shape))
    draw = jax.jit(lambda key: ancestral(model, variables, key, n, None, 1.0, given, 2))
    drawn = np.asarray(draw(jax.random.key(0)))
    assert (drawn[:, keep] == given[:, keep]).all()
    log_prob = np.asarray(functional(model).log_prob(variables, x))
    same = (x[:, keep] == x[500][keep]).all(axis=1)
    expected = np.exp(log_prob[same] - logsumexp(log_prob[same]))
    codes = drawn.reshape(n, -1) @ 3 ** np.arange(6)[::-1]
    counts = np.bincount(codes, minlength=len(x))[same]
    assert counts.sum() == n
    assert abs(counts - n * expected).max() < 5 * np.sqrt(n * expected.max())


def test_a_step_of_training_is_one_order_of_those_drawn():
    model, variables, x = same_weights()
    x = jnp.asarray(x[::97])
    apart = {k: -np.mean(by_order(order)[::97]) / 6 for k, order in enumerate(model.orders)}
    seen = set()
    loss_of = jax.jit(functional(model).loss)
    for seed in range(12):
        loss, (metrics, _) = loss_of(variables, x, jax.random.key(seed))
        [k] = [k for k, value in apart.items() if abs(value - loss) < 1e-12]
        assert abs(metrics["bits_per_dim"] - loss / np.log(2)) < 1e-12
        seen.add(k)
    assert seen == {0, 1, 2}


def test_the_average_over_orders():
    model, variables, x = same_weights()
    ensemble = functional(model.averaged())
    inside = {"params": {"member": variables["params"]}}
    logs = np.stack([by_order(order) for order in model.orders])
    np.testing.assert_allclose(
        ensemble.log_prob(inside, x), logsumexp(logs, axis=0) - np.log(3), atol=1e-12
    )
    shapes = jax.eval_shape(ensemble.init, jax.random.key(0), jnp.asarray(x[:2], jnp.int32))
    assert jax.tree.structure(dict(shapes)) == jax.tree.structure(inside)


@pytest.mark.parametrize("name", ORDERS)
def test_steps_in_every_order(name):
    sizes = {"features": 4, "resnets": int(name == "shuffled"), "mixtures": 2}
    model = LMConv(image(H, W, 1, 3), **sizes, order=ORDERS[name])
    pure, variables = build(model)
    x = np.asarray(random_events(model, 3))
    [row] = laws.steps(Subject(pure, variables, x, None, 0))
    assert row.measured < 1e-12


@pytest.mark.parametrize("late", [0, 1])
def test_a_rank_off_by_one_is_caught(late, monkeypatch):
    """A place that opens the next place in the order too; in the first convolution (0) or in the later ones (1)."""

    def planted(rank, read, own):
        outside = np.full((*rank.shape[:-1], 1), rank.shape[-1] + 1)
        there = np.concatenate([rank, outside], axis=-1)[..., read]
        return there < rank[..., None] + 1 + (own and late)

    case = CASES["lm_conv"].larger
    pure, variables = build(case)
    subject = Subject(pure, variables, np.asarray(random_events(case, 4)), None, 0)
    monkeypatch.setattr(local_mask, "open_taps", planted)
    tables.cache_clear()
    local_mask.dependence.cache_clear()
    try:
        rows = {row.law: row for row in laws.causal(subject)}
        assert not rows["causal"].passed
    finally:
        tables.cache_clear()
        local_mask.dependence.cache_clear()


def test_the_paper_has_46_million_parameters():
    experiment = load_config(CONFIGS / "lm_conv_cifar10.py")
    x = jnp.zeros((2, 32, 32, 3), jnp.uint8)
    shapes = jax.eval_shape(functional(experiment.model).init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 46_072_360


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"event": image(2, 2, 3)}, "colour needs mixtures"),
        ({"mixtures": 0}, "at least one mixture"),
        ({"features": 1}, "at least 2 features"),
        ({"resnets": -1}, "resnets >= 0"),
        ({"orders": ()}, "at least one order"),
        ({"order": ObservedFirst(Raster(), ("01",))}, "for images of 1x2 places"),
    ],
)
def test_refusals(changes, words):
    model = LMConv(image(2, 2, 1, 3), **TINY, mixtures=None).clone(**changes)
    with pytest.raises(InputError, match=words):
        jax.eval_shape(
            functional(model).init, jax.random.key(0), jnp.zeros((1, *model.event.shape), jnp.uint8)
        )
