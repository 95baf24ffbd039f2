"""Regions that are kept: their spellings as masks, an order that sees them first, bits of what they hide."""

import base64
import io
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import TINY_LOCAL, random_events
from PIL import Image
from untrained import run_of

from gen_jax import LMConv, Markov, ObservedFirst, Raster, SCurve, functional, image
from gen_jax.data.prepared import Split
from gen_jax.errors import InputError
from gen_jax.evaluate import draw, regions
from gen_jax.media import pictures
from gen_jax.media.images import Images
from gen_jax.report import images as report

SHAPE = (4, 6, 2)


@pytest.fixture(scope="module")
def local():
    return run_of(LMConv(image(4, 6, 1, 3), **TINY_LOCAL, orders=(SCurve(0), SCurve(4))))


def rows(mask):
    return ["".join("01"[int(place)] for place in row) for row in mask[..., 0]]


def test_sides_and_the_centre():
    assert rows(regions.read_mask("top:0.5", SHAPE)) == ["111111", "111111", "000000", "000000"]
    assert rows(regions.read_mask("bottom:0.25", SHAPE)) == ["000000"] * 3 + ["111111"]
    assert rows(regions.read_mask("left:0.5", SHAPE)) == ["111000"] * 4
    assert rows(regions.read_mask("right:1", SHAPE)) == ["111111"] * 4
    centre = regions.read_mask("centre:0.5", SHAPE)
    assert rows(centre) == ["000000", "011100", "011100", "000000"]
    assert (centre[..., 0] == centre[..., 1]).all()


def test_random_places_by_their_seed():
    masks = [regions.read_mask(f"random:0.3:{seed}", SHAPE) for seed in (0, 0, 1)]
    assert [mask.sum() for mask in masks] == [14, 14, 14]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != masks[2]).any()
    assert (regions.read_mask("random:0.3", SHAPE) == masks[0]).all()
    assert all((mask[..., 0] == mask[..., 1]).all() for mask in masks)


def test_a_picture_is_white_where_pixels_are_kept(tmp_path):
    mask = np.random.default_rng(0).random((4, 6)) < 0.4
    for name, picture in {
        "grey": Image.fromarray((255 * mask).astype(np.uint8)),
        "bits": Image.fromarray(mask),
    }.items():
        picture.save(tmp_path / f"{name}.png")
        assert (regions.read_mask(f"{tmp_path}/{name}.png", SHAPE) == mask[..., None]).all()


@pytest.mark.parametrize(
    "text",
    [
        "top",
        "top:",
        "top:1.5",
        "top:nan",
        "top:0.5:1",
        "random:0.5:-1",
        "random:0.5:1:2",
        "up:0.5",
        "random:x",
        "",
    ],
)
def test_other_spellings_are_refused(text):
    with pytest.raises(
        InputError, match=r"SIDE:FRACTION such as top:0.5, with a side of top, bottom"
    ):
        regions.read_mask(text, SHAPE)


def test_other_pictures_are_refused(tmp_path):
    for name, shape, grey, words in (
        ("small", (2, 6), 0, "is 2x6, the model is of 4x6"),
        ("grey", (4, 6), 128, "is no mask: it needs white"),
        ("colour", (4, 6, 3), 255, "is no mask: it needs white"),
    ):
        Image.fromarray(np.full(shape, grey, np.uint8)).save(tmp_path / f"{name}.png")
        with pytest.raises(InputError, match=words):
            regions.read_mask(f"{tmp_path}/{name}.png", SHAPE)
    with pytest.raises(InputError, match="absent"):
        regions.read_mask(str(Path(tmp_path) / "absent.png"), SHAPE)


def test_the_order_that_sees_the_kept_part_first(local):
    """The model's own, one that it was trained on, or the observed places first."""
    shape = local.experiment.model.event.shape
    found = {}
    for region in ("top:0.5", "left:0.5", "centre:0.5", "random:0.3:2"):
        keep = regions.read_mask(region, shape)
        run, known = regions.seen_first(local, keep)
        model = run.experiment.model
        assert keep.reshape(-1)[model.sites[:known]].all()
        assert known == keep.sum()
        found[region] = model.order
    assert found["top:0.5"] == SCurve(0)
    assert found["left:0.5"] == SCurve(4)
    assert isinstance(found["centre:0.5"], ObservedFirst)
    assert found["centre:0.5"].base == SCurve(0)


def test_completions_keep_what_is_given(local):
    x = np.asarray(random_events(local.experiment.model, 5))
    keep = regions.read_mask("random:0.5:3", x.shape[1:])
    one, other = (draw.complete(local, x, keep, seed) for seed in (0, 1))
    assert (one[:, keep] == x[:, keep]).all()
    assert (one != other).any()
    assert (draw.complete(local, x, keep, 0) == one).all()


def test_bits_of_the_hidden_part(local):
    """Per hidden value; with all hidden it is the whole, and both parts add up to the whole."""
    model = local.experiment.model
    x = np.asarray(random_events(model, 9), np.uint8)
    split = Split("some", "1.0.0", "test", x, None, model.event, 0)
    keep = regions.read_mask("top:0.5", x.shape[1:])
    hidden = regions.conditional(local, split, keep)
    sites = model.apply(local.variables, jnp.asarray(x), method="log_prob_sites")
    np.testing.assert_allclose(hidden.per_example, -sites[:, 12:].sum(axis=1), rtol=1e-5)
    assert hidden.bits_per_dim == pytest.approx(hidden.nats / 12 / np.log(2))
    whole = regions.conditional(local, split, np.zeros(x.shape[1:], bool))
    np.testing.assert_allclose(
        whole.per_example, -local.model.log_prob(local.variables, x), rtol=1e-5
    )
    with pytest.raises(InputError, match="keeps every value"):
        regions.conditional(local, split, np.ones(x.shape[1:], bool))


def test_the_hidden_part_in_one_order():
    """Given the kept part, by enumeration of what it leaves open; in another order, the terms of the hidden values."""
    run = run_of(LMConv(image(2, 2, 1, 3), **TINY_LOCAL, orders=(SCurve(0), SCurve(4))))
    model = run.experiment.model
    top, left = (regions.read_mask(f"{side}:0.5", (2, 2, 1)) for side in ("top", "left"))
    every = np.stack(np.meshgrid(*[range(3)] * 4, indexing="ij"), axis=-1).reshape(-1, 2, 2, 1)
    split = Split("some", "1.0.0", "test", every.astype(np.uint8), None, model.event, 0)
    for keep in (top, left):
        first, _ = regions.seen_first(run, keep)
        joint = np.asarray(first.model.log_prob(first.variables, every), np.float64)
        given = every[:, keep]
        same = (given[:, None] == given).all(axis=-1)
        expected = joint - np.log(same @ np.exp(joint))
        found = regions.conditional(run, split, keep)
        np.testing.assert_allclose(found.per_example, -expected, rtol=1e-4, atol=1e-5)
        assert found.bits_per_dim == pytest.approx(-expected.mean() / 2 / np.log(2), rel=1e-4)
    sites = model.apply(run.variables, jnp.asarray(every), method="log_prob_sites")
    above, beside = regions.hidden_part(run, split, [top, left])
    np.testing.assert_allclose(above.per_example, -sites[:, 2:].sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        beside.per_example, -sites[:, 1:3].sum(axis=1), rtol=1e-5
    )  # 0 1 / 3 2
    assert [regions.follows(run, keep) for keep in (top, left)] == [True, False]


def test_the_report_has_the_bits_of_each_region(local, monkeypatch):
    """In an order that sees it first, in the model's own and in raster order; what is hidden is blue in one row."""
    monkeypatch.setattr(report, "REGIONS", ("top:0.5", "left:0.5"))
    monkeypatch.setattr(report, "COMPLETIONS", 2)
    model = local.experiment.model
    x = np.asarray(random_events(model, 5), np.uint8)
    split = Split("some", "1.0.0", "test", x, None, model.event, 0)
    [(title, page)] = report.completions(Images(model.event, {}), local, split)
    assert title == "Completions"
    lines = re.findall("<tr>(.*)</tr>", page)
    above, beside = ([*re.findall("<td>(.*?)</td>", line)] for line in lines[1:])
    hidden = {SCurve(0): np.s_[12:], SCurve(4): np.s_[12:], Raster(): np.s_[12:]}
    hidden[None] = np.flatnonzero(
        model.sites[:, 0] % 6 >= 3
    )  # on the right, in the model's own order
    cells = {}
    for order, places in hidden.items():
        ordered = model.clone(order=order or model.order)
        sites = ordered.apply(local.variables, jnp.asarray(x), method="log_prob_sites")
        bits = -np.asarray(sites)[:, places].sum(axis=1) / 12 / np.log(2)
        cells[order] = f"{bits.mean():.3f} ± {bits.std(ddof=1) / 5**0.5:.3f}"
    own_above, given, raster, own_beside = cells.values()
    assert above == ["top:0.5", "12", own_above, own_above, raster, "SCurve(variant=0)"]
    assert beside == ["left:0.5", "12", given, own_beside, "-", "SCurve(variant=4)"]
    pictures_of = re.findall('base64,([^"]*)', page)
    for region, encoded in zip(("top:0.5", "left:0.5"), pictures_of, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
            pixels = np.asarray(picture)[12::24, 12::24]  # one of each enlarged pixel
        blue = (pixels == pictures.HIDDEN).all(axis=-1)
        second = ~regions.read_mask(region, x.shape[1:])[..., 0]
        expected = np.zeros((4 * 5 + 1, 2 * 7 + 1), bool)
        expected[6:10, 1:7] = expected[6:10, 8:14] = second
        np.testing.assert_array_equal(blue, expected)


def test_a_run_averaged_over_its_orders(local):
    x = random_events(local.experiment.model, 4)
    averaged = local.averaged()
    logs = [
        functional(local.ordered(order).experiment.model).log_prob(local.variables, x)
        for order in (SCurve(0), SCurve(4))
    ]
    expected = jax.nn.logsumexp(jnp.stack(logs), axis=0) - jnp.log(2)
    np.testing.assert_allclose(averaged.model.log_prob(averaged.variables, x), expected, rtol=1e-5)


def test_models_of_one_order_refuse_with_the_reason():
    run = run_of(Markov(image(4, 6, 1, 3)))
    with pytest.raises(InputError, match="only a prefix of the model's order"):
        regions.seen_first(run, regions.read_mask("left:0.5", (4, 6, 1)))
    with pytest.raises(InputError, match="markov serve one order of generation only"):
        run.ordered(Raster())
    with pytest.raises(InputError, match="there are none to average"):
        run.averaged()
