"""The film of a model that draws pixel by pixel: its numbers, their packing, and what a browser makes of them."""

import base64
import shutil
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, build
from families import FAMILIES
from test_auxiliary import GRAY
from untrained import run_of

from gen_jax import GatedPixelCNN, Independent, Markov, PixelCNNPP, image
from gen_jax.conditions import drawn, label_of, values_of
from gen_jax.density import Autoregressive
from gen_jax.evaluate import film as films
from gen_jax.media.images import Images
from gen_jax.models.autoregressive.base import stepped_params
from gen_jax.report import film, page

SMALL = GatedPixelCNN(image(4, 5, 1, 17), depth=1, features=4, first_kernel=3, head_features=4)
COLOUR = PixelCNNPP(image(2, 3, 3, 4), features=4, resnets=1, resolutions=1, mixtures=2)
OTHERS = [
    pytest.param(model, id=name, marks=pytest.mark.slow)
    for name, model in [("colour", COLOUR), *((name, case.larger) for name, case in CASES.items())]
    if films.is_image(model.event) and isinstance(model, Autoregressive)
]


def scene_of(model, count=2):
    pure, variables = build(model)
    cond = drawn(model, count)
    x = np.asarray(pure.sample(variables, jax.random.key(0, impl="threefry2x32"), count, cond))
    return films.Scene("", model, variables, x, cond)


@pytest.fixture(scope="module")
def small():
    return films.film(scene_of(SMALL))


@pytest.mark.parametrize("model", [CASES["nade"].larger, *OTHERS])
def test_the_distributions_are_those_of_the_steps(model):
    """Of every model of images, in any order, from its step and head; influence only from declared pixels."""
    scene = scene_of(model)
    shot = films.film(scene)
    with jax.default_matmul_precision("highest"):
        params = stepped_params(
            model, scene.variables, jnp.asarray(scene.x), jax.tree.map(jnp.asarray, scene.cond)
        )
    values = model.site_values(jnp.asarray(scene.x))
    each = [model.head.conditional(params, v, values) for v in range(values.shape[-1])]
    p = np.stack(each, axis=2).reshape(len(scene.x), -1, model.event.levels)
    edges = zip(shot.edges, shot.edges[1:], strict=False)
    shares = np.stack([p[..., low:high].sum(axis=-1) for low, high in edges], axis=-1)
    np.testing.assert_allclose(shot.shares, shares, atol=2e-4)
    levels = scene.x.reshape(len(scene.x), -1)[:, shot.order]
    paid = -np.log2(np.take_along_axis(p, levels[..., None], axis=-1))[..., 0]
    np.testing.assert_allclose(shot.bits, paid, atol=5e-3)
    others = shot.influence * (1 - np.eye(len(shot.influence)))
    assert not np.any(others[~shot.declared])
    assert others.max() <= 1


def test_the_influence_is_the_change_of_the_distribution():
    """Of two levels |p(1) - p'(1)|, by the likelihood of each site after one pixel is flipped, whatever comes later."""
    model = Markov(image(3, 3, 1, 2))
    scene = scene_of(model)
    shot = films.film(scene)
    flips = np.stack([scene.x[0]] * 9).reshape(9, 9)
    flips[np.arange(9), np.arange(9)] ^= 1

    def ones(x):
        """p(x_i = 1 | x_<i) of all sites."""
        p = np.exp(
            model.apply(
                scene.variables, jnp.asarray(x).reshape(-1, 3, 3, 1), method="log_prob_sites"
            )
        )
        return np.where(x == 1, p, 1 - p)

    expected = np.abs(ones(flips) - ones(scene.x[:1].reshape(1, 9))).T
    np.testing.assert_allclose(shot.influence, expected, atol=1e-6)
    apart = np.subtract.outer(np.arange(9), np.arange(9))
    np.testing.assert_array_equal(shot.influence > 0, apart == 1)  # only the pixel before
    alone = films.film(scene_of(Independent(image(3, 3, 1, 2))))
    assert not alone.influence.any()
    assert not alone.declared.any()


def test_large_images_change_in_blocks(monkeypatch):
    """A block of 2x2 pixels at once, all of them, beside the changes computed one by one."""
    scene = scene_of(Markov(image(4, 3, 1, 2)))
    single = films.film(scene).influence
    monkeypatch.setattr(films, "MOST_BLOCKS", 4)
    shot = films.film(scene)
    assert shot.side == 2
    blocks = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 3], [2, 2, 3]])
    np.testing.assert_array_equal(films.blocks_of(4, 3)[1], blocks)
    reads = np.roll(blocks.reshape(-1), 1)  # the block of the pixel before
    np.testing.assert_array_equal(shot.influence[1:] > 0, np.arange(4) == reads[1:, None])
    strongest = shot.influence.max(axis=1)  # that of the pixel before, in its block
    np.testing.assert_allclose(strongest, single.max(axis=1), atol=1e-6)


def test_a_prior_of_codes_has_a_film_but_not_its_decoder():
    """Codes have colours of their own; the pixels are independent given the codes."""
    model = FAMILIES["stages"]
    [codes] = films.scenes(run_of(model), np.zeros((2, *model.event.shape), np.uint8))
    table = film.colour_table(Images(model.event, {}), codes)
    assert len(np.unique(table, axis=0)) == codes.model.event.levels == 3
    assert "data-film" in film.shown(films.film(codes), table)


@pytest.mark.slow
def test_a_model_in_stages_has_a_film_of_each():
    """The second stage is given the labels and what the first one drew."""
    run, x = run_of(GRAY), np.zeros((2, *GRAY.event.shape), np.uint8)
    grey, colour = films.scenes(run, x)
    assert [grey.name, colour.name] == [stage.name for stage in GRAY.stages(run.variables)]
    np.testing.assert_array_equal(values_of(colour.cond)[0], grey.x)
    np.testing.assert_array_equal(label_of(grey.cond), [0, 1])
    for scene in (grey, colour):
        table = film.colour_table(Images(GRAY.event, {}), scene)
        assert table.shape == (scene.model.event.levels, 3)
        assert films.film(scene).shares.shape[1] == scene.model.event.size


def test_levels_of_influence_are_three_to_a_factor_of_ten():
    measured = np.array([0, 1e-30, 1e-5, 1e-4, 0.1, 1])
    np.testing.assert_array_equal(film.levels_of(measured), [0, 1, 1, 3, 12, 15])


def unpacked(text, dtype):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)


def test_the_page_holds_the_numbers(small):
    content = film.packed(small, np.zeros((17, 3)))
    shares = (unpacked(content["shares"], "u1") / 255) ** 2
    np.testing.assert_allclose(shares, small.shares.reshape(-1), atol=1 / 255)
    paid = unpacked(content["bits"], "<u2") / 256
    np.testing.assert_allclose(paid, small.bits.reshape(-1), atol=0.002)
    np.testing.assert_array_equal(unpacked(content["x"], "<u2"), small.x.reshape(-1))
    seen = unpacked(content["influence"], "u1") > 0
    np.testing.assert_array_equal(seen, small.influence.reshape(-1) > 0)
    assert content["order"] is None


def test_large_images_have_none():
    run = run_of(Independent(image(64, 32, 1, 2)))
    medium = Images(run.experiment.model.event, {})
    [(title, words)] = film.sections(medium, run, np.zeros((3, 64, 32, 1), int))
    assert title == "Pixel by pixel"
    assert "at most 1,024 pixels, and these have 2,048." in words


@pytest.fixture(scope="module")
def chromium():
    """A browser without network; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_a_browser_shows_it(small, chromium, tmp_path):
    """Offline: the pixels drawn so far, the bits and the influence under the pointer; no other script runs."""
    grey = np.repeat(np.rint(np.arange(17) * 255 / 16)[:, None], 3, axis=1)
    whole = '{% extends "base.html" %}{% block main %}{{ shown }}<script>document.title="x"</script>{% endblock %}'
    values = {"script": page.Markup(film.SCRIPT), "digest": film.DIGEST, "title": "film"}
    template = page.PAGES.from_string(whole)
    (tmp_path / "film.html").write_text(template.render(shown=film.shown(small, grey), **values))
    tab = chromium.new_context(viewport={"width": 400, "height": 900}, offline=True).new_page()
    problems = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto((tmp_path / "film.html").as_uri())
    words, image_ = tab.locator(".words"), tab.locator("canvas").first
    words.wait_for()
    assert tab.title() == "film"  # the page's policy lets only the film's script run
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400

    def pixels():
        """The middle of each pixel of the canvas, RGB."""
        middle = "[...d.getImageData((k % 5 + 0.5) * s, (Math.floor(k / 5) + 0.5) * s, 1, 1).data]"
        each = f"[...Array(20).keys()].map(k => {middle})"
        script = f"c => {{ const s = c.width / 5, d = c.getContext('2d'); return {each} }}"
        return np.array(image_.evaluate(script))[:, :3]

    def at(count):
        tab.locator("input").evaluate(
            f"s => {{ s.value = {count}; s.dispatchEvent(new Event('input')) }}"
        )
        return words.inner_text()

    assert at(20).startswith(f"20 of 20 values drawn, {small.bits[0].sum():.1f} bits.")
    np.testing.assert_array_equal(pixels(), grey[small.x[0].reshape(-1)])
    assert at(7).startswith(
        f"7 of 20 values drawn, {small.bits[0, :7].sum():.1f} bits. Pixel in row 2, column 3:"
    )
    shown = pixels()
    np.testing.assert_array_equal(shown[:7], grey[small.x[0].reshape(-1)[:7]])
    assert len(np.unique(shown[7:], axis=0)) == 1
    box = image_.bounding_box()
    image_.hover(position={"x": 0.5 * box["width"], "y": 0.375 * box["height"]})  # row 2, column 3
    image_.hover(position={"x": 0.1 * box["width"], "y": 0.375 * box["height"]})  # row 2, column 1
    seen = int((small.influence[5] > 0).sum())
    ending = f"row 2, column 1: {seen} pixels have influence, {int(small.declared[5].sum())} pixels are declared."
    assert words.inner_text().endswith(ending)
    level, paid = small.x[0].reshape(-1)[5], small.bits[0, 5]
    assert tab.locator(".bars p").inner_text().startswith(f"level {level} of 0 to 16, p = ")
    assert f", {paid:.2f} bits" in tab.locator(".bars p").inner_text()
    tab.locator("select").last.select_option("256")
    tab.locator("button").click()
    tab.get_by_text("20 of 20 values drawn").wait_for()
    assert tab.locator("button").inner_text() == "Play"
    assert problems == []
