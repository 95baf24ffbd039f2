"""Image GPT, Image Transformer and Distribution Augmentation: sizes, closed forms, what each may not depend on."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, random_events
from flax.traverse_util import flatten_dict

from gen_jax import (
    LSTM,
    ColourPermutation,
    DistAug,
    ImageBERT,
    ImageGPT,
    ImageTransformer,
    InputError,
    Jigsaw,
    Local,
    Local1D,
    Local2D,
    Reversal,
    Rotation,
    SparseTransformer,
    Strided,
    Transposition,
    functional,
    image,
    tokens,
)
from gen_jax.density import num_parameters
from gen_jax.models.autoregressive.sequence import Beginning

TINY = {"layers": 2, "features": 4, "heads": 2}
GPT = ImageGPT(image(2, 3, 1, 4), **TINY)


def count(model) -> int:
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    return num_parameters(model, jax.eval_shape(functional(model).init, jax.random.key(0), x))


@pytest.mark.parametrize(
    ("layers", "features", "heads", "expected"),
    [(24, 512, 8, 76_571_648), (36, 1024, 8, 455_157_760), (48, 1536, 16, 1_362_250_752)],
    ids=["S", "M", "L"],
)
def test_sizes_of_image_gpt(layers, features, heads, expected):
    """Those of the authors' networks on 32x32 images of 512 colours, without the classifier."""
    sizes = {"layers": layers, "features": features, "heads": heads}
    assert count(ImageGPT(image(32, 32, 1, 512), **sizes)) == expected
    assert count(ImageBERT(image(32, 32, 1, 512), **sizes)) == expected - features  # no start


SMALL_PAPER = SparseTransformer(image(32, 32, 3), layers=32)
LARGE_PAPER = SparseTransformer(
    image(32, 32, 3),
    patterns=(Local(96), Strided(96), Local(96), Local(96)),
    layers=48,
    features=512,
    heads=16,
    key_features=512,
    inner=2048,
)
ALL = (Rotation(), Transposition(), ColourPermutation(), Jigsaw(), Reversal())


@pytest.mark.parametrize(
    ("base", "expected"), [(SMALL_PAPER, 14_910_976), (LARGE_PAPER, 151_612_416)]
)
def test_sizes_of_distribution_augmentation(base, expected):
    """With one start vector the authors' counts; a vector for each kind takes its place."""
    assert count(base) == expected
    kinds = 4 + 2 + 6 + 24
    assert count(DistAug(base.event, base)) == expected + (kinds - 1) * base.features


def test_image_gpt_by_hand():
    """One layer, one head, in numpy: norms by the root mean square, a start vector, codes of the site's own place."""
    model = ImageGPT(image(1, 4, 1, 3), layers=1, features=4, heads=1)
    _, variables = build(model)
    x = random_events(model, 2)
    flat = {
        k: np.asarray(v, np.float64) for k, v in flatten_dict(variables["params"], sep="/").items()
    }
    of = lambda name: next(v for k, v in flat.items() if k.endswith(name)).squeeze()  # noqa: E731
    norm = lambda h, g: h / np.sqrt((h**2).mean(-1, keepdims=True) + 1e-5) * g  # noqa: E731
    codes = flat["symbols/embedding"][np.asarray(x).reshape(2, -1)]
    start = np.broadcast_to(flat["start"], (2, 1, 4))
    h = np.concatenate([start, codes[:, :-1]], axis=1) + flat["network/places"]
    y = norm(h, of("attention_norm/scale"))
    query, key, value = (y @ of(f"{name}/kernel") for name in ("query", "key", "value"))
    weights = np.exp(query @ np.swapaxes(key, 1, 2) / 2) * np.tri(4)
    h = h + weights / weights.sum(-1, keepdims=True) @ value @ of("attention/out/kernel")
    y = norm(h, of("map_norm/scale")) @ of("up/kernel")
    h = h + y / (1 + np.exp(-1.702 * y)) @ of("down/kernel")
    expected = norm(h, flat["network/norm/scale"]) @ flat["network/logits/kernel"]
    np.testing.assert_allclose(model.apply(variables, x), expected, rtol=2e-4, atol=2e-5)
    assert not any("bias" in name for name in flat)


def test_blocks_are_shown_in_their_order():
    """Block k of a deep stack is the last of the one that ends with it, over the root of its mean square."""
    model = SparseTransformer(
        image(2, 3, 1, 4), (Strided(2), Local(2)), layers=4, features=4, key_features=2, inner=6
    )
    _, variables = build(model)
    x = random_events(model, 3)
    found = model.apply(variables, x, method="block_features")
    assert [h.shape for h in found] == [(3, 4)] * 4
    cut = jax.tree.map(lambda leaf: leaf, variables)
    stack = cut["params"]["stack"]
    cut["params"]["stack"] = {"periods": jax.tree.map(lambda leaf: leaf[:1], stack["periods"])}
    shorter = model.clone(layers=2).apply(cut, x, method="block_features")
    np.testing.assert_allclose(shorter, found[:2], rtol=1e-5, atol=1e-6)
    assert np.abs(found[0] - found[2]).max() > 1e-2


def test_image_bert_reads_everything_but_what_is_hidden():
    """A hidden token changes nothing, wherever it stands; a seen one changes every guess; the loss is of the hidden."""
    model = ImageBERT(image(2, 3, 1, 4), masked=0.5, **TINY)
    pure, variables = build(model)
    x, key = random_events(model, 5), jax.random.key(3)
    seen = jnp.ones((5, 6, 1)).at[:, 2].set(0)
    logits = model.apply(variables, x, seen)
    other = x.at[:, 0, 2].set((x[:, 0, 2] + 1) % 4)
    np.testing.assert_array_equal(model.apply(variables, other, seen), logits)
    for place in (1, 5):
        other = x.reshape(5, 6).at[:, place].set((x.reshape(5, 6)[:, place] + 1) % 4)
        changed = model.apply(variables, other.reshape(x.shape), seen)
        assert np.abs(changed - logits).max(axis=(0, 2)).min() > 1e-5
    hidden = jax.random.bernoulli(_mask_key(key), 0.5, (5, 6))
    log_p = jax.nn.log_softmax(model.apply(variables, x, 1.0 - hidden[..., None]))
    log_p = np.take_along_axis(np.asarray(log_p), np.asarray(x).reshape(5, 6, 1), 2)[..., 0]
    rows = [-log_p[i, np.asarray(hidden)[i]] for i in range(5)]
    expected = np.mean([row.mean() if row.size else 0.0 for row in rows])
    (loss, (metrics, _)) = pure.loss(variables, x, key)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert 0 <= float(metrics["masked_accuracy"]) <= 1
    for refused in (lambda: pure.log_prob(variables, x), lambda: pure.sample(variables, key, 1)):
        with pytest.raises(InputError, match="image_bert guesses hidden tokens"):
            refused()


def _mask_key(key):
    from gen_jax.density import fold_in

    return fold_in(key, "masked")


def local2d(mixtures=None, **changes):
    sizes = {"layers": 1, "features": 4, "heads": 2, "inner": 6, "dropout": 0.0} | changes
    return ImageTransformer(image(4, 4, 1, 4), Local2D(2, 2, 1, 1), mixtures=mixtures, **sizes)


def test_local_attention_in_two_dimensions():
    """The order is that of the tiles; one layer reads a rectangle of earlier sites, through the shift by one site."""
    model = local2d()
    tiles = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    order = list(itertools.chain(*tiles))
    np.testing.assert_array_equal(model.sites[:, 0], order)
    for site in range(16):
        row, column = divmod(order[site], 4)
        top, left = row // 2 * 2, column // 2 * 2
        read = set()
        for other in range(site + 1):  # a position of the shifted input
            r, c = divmod(order[other], 4)
            if top - 1 <= r < top + 2 and left - 1 <= c < left + 3 and other > 0:
                read.add(other - 1)
        np.testing.assert_array_equal(np.flatnonzero(model.context(site)), sorted(read))
    assert local2d(layers=4).context(15)[:15].sum() > model.context(15).sum()


def test_local_attention_in_one_dimension():
    model = ImageTransformer(
        image(2, 6, 1, 4), Local1D(4, 4), layers=1, features=4, heads=1, inner=4, dropout=0.0
    )
    np.testing.assert_array_equal(model.sites[:, 0], np.arange(12))
    for site in range(12):
        block = site // 4 * 4
        expected = [other - 1 for other in range(max(block - 4, 1), site + 1)]
        np.testing.assert_array_equal(np.flatnonzero(model.context(site)), expected)


def test_values_enter_by_the_table_of_their_channel():
    """The same value in another channel has another code; channels of one pixel follow one another."""
    model = ImageTransformer(
        image(2, 2, 3, 4), Local2D(1, 2, 1, 1), layers=1, features=4, heads=1, inner=4, dropout=0.0
    )
    assert (
        count(model) - count(model.clone(event=image(2, 2, 1, 4))) == (3 - 1) * 4 * 4 + (6 - 2) * 2
    )
    np.testing.assert_array_equal(model.sites[:4, 0], [0, 1, 2, 3])
    _, variables = build(model)
    x = random_events(model, 3)
    table = variables["params"]["symbols"]["embedding"].at[4:8].add(1.0)  # of the green channel
    changed = {"params": {**variables["params"], "symbols": {"embedding": table}}}
    difference = np.abs(model.apply(variables, x) - model.apply(changed, x)).max(axis=(0, 2))
    np.testing.assert_array_equal(difference[:2], 0)  # nothing green before these
    assert difference[2] > 1e-3


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ImageTransformer(image(4, 6, 1, 4), Local2D(2, 4, 1, 1)), "do not cover"),
        (ImageTransformer(image(3, 3, 1, 4), Local1D(4, 4)), "do not cover"),
        (ImageTransformer(tokens(4, 3)), "a model of images"),
        (local2d(mixtures=0), "mixtures of at least 1"),
        (local2d(heads=3), "3 heads share equally"),
        (ImageGPT(image(2, 2, 1, 4), features=4, heads=3), "3 heads share equally"),
        (ImageBERT(image(2, 2, 1, 4), masked=1.0, **TINY), "a share in"),
        (DistAug(tokens(4, 3), LSTM(tokens(4, 3))), "LSTM cannot"),
        (DistAug(image(3, 2, 1, 4), GPT), "its base of"),
        (DistAug(GPT.event, GPT), "is of square images"),
        (DistAug(GPT.event, GPT, (Reversal(), Reversal())), "each once"),
        (DistAug(GPT.event, GPT, (ColourPermutation(),)), "2 to 4 channels"),
        (DistAug(image(3, 3, 1, 4), GPT.clone(event=image(3, 3, 1, 4)), (Jigsaw(),)), "even sides"),
    ],
)
def test_what_cannot_work(model, words):
    with pytest.raises(InputError, match=words):
        functional(model).init(jax.random.key(0), jnp.zeros((1, *model.event.shape), jnp.int32))


def test_transformations_are_groups_of_permutations():
    """Each kind moves every value once, none but the first is the identity, and two in a row are a kind again."""
    for transform, shape in itertools.product(ALL, [(4, 4, 3), (2, 2, 2)]):
        table = transform.table(shape)
        np.testing.assert_array_equal(
            np.sort(table), np.tile(np.arange(math.prod(shape)), (len(table), 1))
        )
        np.testing.assert_array_equal(table[0], np.arange(math.prod(shape)))
        kinds = {row.tobytes() for row in table}
        assert len(kinds) == len(table)
        assert {first[second].tobytes() for first in table for second in table} == kinds
    x = np.arange(48).reshape(4, 4, 3)
    np.testing.assert_array_equal(
        x.reshape(-1)[Rotation().table(x.shape)[1]], np.rot90(x).reshape(-1)
    )
    np.testing.assert_array_equal(
        x.reshape(-1)[Transposition().table(x.shape)[1]], x.swapaxes(0, 1).reshape(-1)
    )
    assert [len(transform.table(x.shape)) for transform in ALL] == [4, 2, 6, 24, 2]


AUGMENTED = DistAug(
    image(2, 2, 1, 3),
    SparseTransformer(
        image(2, 2, 1, 3), (Local(2),), layers=2, features=4, key_features=2, inner=6, dropout=0.0
    ),
    (Rotation(), Transposition(), Reversal()),
)


@pytest.mark.parametrize("move", [True, False])
def test_every_transformation_has_its_distribution(move):
    """Sum over x of p(t(x) | t) is 1 for each t, and the distributions differ."""
    model = AUGMENTED.clone(move_places=move)
    _, variables = build(model)
    x = jnp.asarray(all_events(model))
    found = []
    for kinds in ((0, 0, 0), (1, 0, 1), (3, 1, 0)):
        given = jnp.tile(jnp.array(kinds), (len(x), 1))
        log_p = model.apply(variables, x, given, method="log_prob_given").sum(axis=-1)
        np.testing.assert_allclose(np.exp(np.asarray(log_p, np.float64)).sum(), 1, rtol=1e-5)
        found.append(np.sort(log_p))
    assert np.abs(found[0] - found[1]).max() > 1e-2
    assert np.abs(found[1] - found[2]).max() > 1e-2


def identity_only(model, variables, x):
    """Whether log p stays when the vectors of all other kinds change, and moves when the identity's do."""

    def changed(rows):
        params = dict(variables["params"])
        for transform in model.transforms:
            params[transform.name] = params[transform.name].at[rows].add(jnp.arange(4.0))
        return np.asarray(model.apply({"params": params}, x, method="log_prob"))

    before = np.asarray(model.apply(variables, x, method="log_prob"))
    return np.array_equal(changed(slice(1, None)), before), np.abs(changed(0) - before).max() > 1e-2


def test_evaluation_is_of_the_identity(monkeypatch):
    """log p depends on the vectors of kind 0 alone and is p(x | identity); a wrong token is seen."""
    _, variables = build(AUGMENTED)
    x = random_events(AUGMENTED, 6)
    assert identity_only(AUGMENTED, variables, x) == (True, True)
    none = jnp.zeros((6, 3), int)
    given = AUGMENTED.apply(variables, x, none, method="log_prob_given").sum(axis=-1)
    log_p = AUGMENTED.apply(variables, x, method="log_prob")
    np.testing.assert_allclose(given, log_p, rtol=1e-5)
    monkeypatch.setattr("gen_jax.models.autoregressive.dist_aug.IDENTITY", 1)
    assert identity_only(AUGMENTED, variables, x) == (False, False)


def test_a_transformed_event_is_read_where_it_lay():
    """With places that move, a base without order sees the same pairs of value and place: only the order differs."""
    model = AUGMENTED.clone(transforms=(Rotation(),))
    _, variables = build(model)
    x = random_events(model, 4)
    moved, places = model.apply(variables, x, jnp.array([[0], [1], [2], [3]]), method="transformed")
    for image_, turned, where, turns in zip(x, moved, places, range(4), strict=True):
        np.testing.assert_array_equal(turned, np.rot90(image_, turns))
        np.testing.assert_array_equal(
            np.asarray(turned).reshape(-1), np.asarray(image_).reshape(-1)[where]
        )
    base = model.base.clone(parent=None)
    given = {"params": variables["params"]["base"]}
    start = jnp.ones((1, 4))
    here = jnp.arange(4)[None]
    at = lambda places: base.apply(given, x[:1], Beginning(start, places))  # noqa: E731
    np.testing.assert_array_equal(at(None), at(here))
    assert np.abs(at(here) - at(here[:, ::-1])).max() > 1e-3


def test_kinds_are_drawn_uniformly_for_each_example():
    """The loss is the mean over the drawn t; another key draws others."""
    pure, variables = build(AUGMENTED)
    x = jnp.tile(random_events(AUGMENTED, 1), (64, 1, 1, 1))
    every = jnp.array(list(itertools.product(range(4), range(2), range(2))))
    of_kind = -AUGMENTED.apply(variables, x[:16], every, method="log_prob_given").sum(axis=-1) / 4
    losses = [float(pure.loss(variables, x, jax.random.key(seed))[0]) for seed in range(12)]
    assert len(set(losses)) == 12
    error = float(of_kind.std()) / (64 * 12) ** 0.5
    assert abs(np.mean(losses) - float(of_kind.mean())) < 4 * error
    assert np.std(losses) < 2 * float(of_kind.std()) / 8
