"""Orders of generation: permutations of an image's pixels, which configs store as values and models follow."""

import jax
import numpy as np
import pytest
from cases import build

from gen_jax import (
    Hilbert,
    Independent,
    InputError,
    ObservedFirst,
    Order,
    Raster,
    SCurve,
    Shuffled,
    Tiles,
    image,
)
from gen_jax.config_tree import from_tree, to_tree
from gen_jax.ops.orders import positions

KEPT = ObservedFirst(SCurve(1), ("0110", "0110"))
ORDERS = [Raster(), SCurve(6), Hilbert(3), Shuffled(7), Tiles(2, 3), KEPT]


class Tiled(Independent):
    order: Order = Tiles(2, 2)


def steps(order, height, width):
    """Rows and columns between each place and the next."""
    return np.abs(np.diff(np.divmod(order.places(height, width), width)))


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 6), (5, 1), (2, 2), (8, 8), (28, 28), (7, 12), (13, 5)]
)
def test_curves_visit_every_place_and_the_next_one_is_a_neighbour(height, width):
    for variant in range(8):
        for curve in (SCurve(variant), Hilbert(variant)):
            assert sorted(curve.places(height, width)) == list(range(height * width))
        assert (steps(SCurve(variant), height, width).sum(axis=0) == 1).all()
        rows, columns = steps(Hilbert(variant), height, width)
        assert (np.maximum(rows, columns) == 1).all()
        if height % 2 == width % 2 == 0:
            assert (rows + columns == 1).all()


def test_hilbert_visits_one_quarter_after_the_other():
    rows, columns = np.divmod(Hilbert().places(16, 16), 16)
    for side in (8, 4, 2):
        block = rows // side * (16 // side) + columns // side
        assert np.sum(np.diff(block) != 0) == (16 // side) ** 2 - 1


def test_variants_are_the_mirror_images():
    grid = np.arange(6).reshape(2, 3)
    assert SCurve().places(2, 3).tolist() == [0, 1, 2, 5, 4, 3]
    for variant in range(8):
        other = grid[:: -1 if variant & 2 else 1, :: -1 if variant & 1 else 1]
        curve = SCurve().places(3, 2) if variant & 4 else SCurve().places(2, 3)
        expected = (other.T if variant & 4 else other).reshape(-1)[curve]
        assert SCurve(variant).places(2, 3).tolist() == expected.tolist()
    for kind in (SCurve, Hilbert):
        assert len({tuple(kind(variant).places(4, 4)) for variant in range(8)}) == 8


def test_tiles_observed_first_and_a_frozen_stream():
    assert Tiles(2, 2).places(2, 6).tolist() == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]
    assert Tiles(4, 5).places(4, 5).tolist() == list(range(20))
    assert KEPT.places(2, 4).tolist() == [2, 1, 5, 6, 3, 0, 4, 7]
    observed = np.random.default_rng(0).random((5, 7)) < 0.3
    for base in (Hilbert(2), Shuffled(3)):
        places, before = ObservedFirst.of(base, observed).places(5, 7), base.places(5, 7)
        seen = observed.reshape(-1)
        assert places.tolist() == [p for p in before if seen[p]] + [
            p for p in before if not seen[p]
        ]
    assert Shuffled(0).places(2, 4).tolist() == [6, 2, 1, 7, 3, 0, 5, 4]


def test_positions_of_the_values_of_a_place():
    order = Tiles(2, 1)
    assert positions(order, (2, 2, 3))[:, 1].tolist() == [1, 7, 4, 10]
    assert positions(order, (2, 2, 3))[1].tolist() == [6, 7, 8]
    assert positions(Raster(), (5,)).tolist() == [[0], [1], [2], [3], [4]]
    assert positions(SCurve(1), (3,)).tolist() == [[2], [1], [0]]


def test_sites_follow_from_the_order_of_a_model():
    model = Tiled(image(2, 4, 2, 3))
    assert model.sites[:6, 0].tolist() == [0, 1, 2, 3, 8, 9]
    assert model.clone(order=Raster()).sites[:, 0].tolist() == list(range(16))
    pure, variables = build(model)
    drawn = pure.sample(variables, jax.random.key(0), 3)
    by_site = model.apply(variables, drawn, method="log_prob_sites")
    assert by_site.shape == (3, 16)
    assert np.allclose(by_site.sum(axis=1), pure.log_prob(variables, drawn))


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_a_config_stores_an_order(order):
    tree = to_tree(order)
    assert tree["type"] == f"gen_jax:{type(order).__name__}"
    assert from_tree(tree, Order) == order


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SCurve(8), "variants of SCurve are 0 to 7, not 8"),
        (lambda: Hilbert(-1), "variants of Hilbert are 0 to 7, not -1"),
        (lambda: Shuffled(-3), "must lie in"),
        (lambda: Tiles(0, 2), "at least 1, not 0x2"),
        (lambda: Tiles(3, 2).places(4, 4), "tiles of 3x2 do not cover 4x4"),
        (lambda: ObservedFirst(Raster(), ("01", "0")), "rows of one length"),
        (lambda: ObservedFirst(Raster(), ("02",)), "0 and 1 only"),
        (lambda: ObservedFirst(Raster(), ()), "rows of one length"),
        (lambda: KEPT.places(4, 2), "for images of 2x4 places, not 4x2"),
        (
            lambda: from_tree({"type": "gen_jax:Event", "fields": {"shape": [1]}}, Order),
            "gen_jax:Event is in the place of Order",
        ),
    ],
)
def test_bad_orders_are_refused_in_one_sentence(make, words):
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1
