"""`reconstruct` and `interpolate` on the command line, and the report's sections for latents and codes."""

import io
import json
import re

import numpy as np
import pytest
from cases import random_events
from PIL import Image
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture that applies by itself
from test_codec_cli import model_folder
from untrained import run_of

from gen_jax import (
    GAN,
    VAE,
    VQVAE,
    VQVAE2,
    ImageRealNVP,
    Markov,
    image,
    sound,
)
from gen_jax.data import prepared
from gen_jax.data.batches import spread
from gen_jax.evaluate import draw, latents
from gen_jax.media.sound import Sound
from gen_jax.models.adversarial.gan import DenseDiscriminator, DenseGenerator
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.report import codes as report
from gen_jax.runs.run import load_run

DIGITS = image(8, 8, levels=17)
DENSE = {"encoder": DenseEncoder((8,)), "decoder": DenseDecoder((8,))}
MODELS = {
    "vae": VAE(DIGITS, latent=2, **DENSE),
    "classes": VAE(DIGITS, latent=2, num_classes=10, **DENSE),
    "vq_vae_2": VQVAE2(DIGITS, strided=(8,), top=(8,), blocks=1, residual=4, codes=6, size=4),
    "gan": GAN(DIGITS, 2, DenseGenerator((4,)), DenseDiscriminator((4,))),
    "markov": Markov(DIGITS),
    "flow": ImageRealNVP(DIGITS, features=4, blocks=1, scales=1, num_classes=10),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folders = {}

    def of(name):
        if name not in folders:
            folders[name] = model_folder(tmp_path_factory.mktemp(name), MODELS[name])
        return folders[name]

    return of


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def refused(*argv) -> str:
    status, out, err = call(*argv)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    return err


def test_reconstructions_of_the_split(folder, data_dir, tmp_path):
    """As the library reconstructs them, beside the originals; a grid has four pairs in a row."""
    path, out = folder("vae"), tmp_path / "x.npz"
    where = ("--data-dir", data_dir)
    printed = succeed("reconstruct", path, "--num", 5, "--seed", 2, "--out", out, *where, "--json")
    assert json.loads(printed) == {"out": str(out), "num": 5, "step": 1}
    split = prepared.load("digits", "test", data_dir)
    found, x = arrays(out), split.x[spread(len(split), 5)]
    np.testing.assert_array_equal(found["originals"], x)
    run = load_run(path)
    np.testing.assert_array_equal(found["reconstructions"], draw.reconstruct(run, x, seed=2))
    page = tmp_path / "x.png"
    succeed("reconstruct", path, "--split", "validation", "--out", page, *where)
    factor = 512 // (8 * 9 + 1)
    assert Image.open(io.BytesIO(page.read_bytes())).size == (factor * (8 * 9 + 1),) * 2


def test_files_of_the_user(folder, tmp_path):
    """Two PNG files make a pair; without a data set."""
    split = np.random.default_rng(0).integers(0, 17, (2, 8, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / "two.npz", x=split)
    path, out = folder("vae"), tmp_path / "out.npz"
    printed = succeed("reconstruct", path, tmp_path / "two.npz", "--out", out)
    assert printed == f"2 reconstructions of 1 file in {out}\n"
    again = arrays(out)["reconstructions"]
    printed = succeed("interpolate", path, tmp_path / "two.npz", "--steps", 4, "--out", out)
    assert printed == f"1 paths of 4 between examples of 1 file in {out}\n"
    found = arrays(out)
    np.testing.assert_array_equal(found["originals"], split[None])
    assert found["paths"].shape == (1, 4, 8, 8, 1)
    run = load_run(path)
    expected = latents.interpolate(run, split[:1], split[1:], 4)
    np.testing.assert_array_equal(found["paths"], expected)
    np.testing.assert_array_equal(found["paths"][0, 0], again[0])


def test_paths_of_a_flow_under_classes(folder, data_dir, tmp_path):
    """The images themselves are the ends; the label of the split goes along."""
    out = tmp_path / "paths.npz"
    options = ("--num", 3, "--steps", 2, "--out", out, "--data-dir", data_dir)
    succeed("interpolate", folder("flow"), *options)
    found = arrays(out)
    np.testing.assert_array_equal(found["paths"], found["originals"])
    page = tmp_path / "paths.png"
    one = tmp_path / "one.npz"
    np.savez(one, x=found["originals"][0])
    assert "give the class of the images with --label" in refused(
        "interpolate", folder("flow"), one, "--out", page
    )
    succeed("interpolate", folder("flow"), one, "--label", 3, "--steps", 6, "--out", page)
    factor = 512 // (8 * 9 + 1)
    assert Image.open(page).size == (factor * (8 * 9 + 1), factor * 10)


@pytest.mark.parametrize(
    ("name", "argv", "sentence"),
    [
        ("markov", ("reconstruct", "x.png"), "markov does not encode events: there is nothing to"),
        ("gan", ("reconstruct", "x.png"), "gan does not encode events"),
        ("markov", ("interpolate", "x.png"), "markov gives no continuous latents of an event"),
        ("gan", ("interpolate", "x.png"), "gan gives no continuous latents"),
        ("vq_vae_2", ("interpolate", "x.png"), "vq_vae_2 gives no continuous latents"),
        ("vae", ("reconstruct", "x.wav"), "--out needs a name that ends in .png or .npz"),
        ("vae", ("interpolate", "x.png", "--steps", "1"), "a path has two ends"),
        ("vae", ("reconstruct", "x.png", "--label", "1"), "vae is not class-conditional"),
        ("flow", ("interpolate", "x.png", "--label", "1"), "examples of a split have theirs"),
        ("vae", ("interpolate", "x.png", "--split", "none"), "none"),
    ],
)
def test_refusals(folder, data_dir, tmp_path, name, argv, sentence):
    command, out, *options = argv
    where = ("--out", tmp_path / out, "--data-dir", data_dir)
    assert sentence in refused(command, folder(name), *options, *where)
    assert not (tmp_path / out).exists()


def test_refusals_of_files(folder, tmp_path):
    three, out = tmp_path / "three.npz", ("--out", tmp_path / "x.npz")
    np.savez(three, x=np.zeros((3, 8, 8), np.uint8))
    assert "an even number of them, not 3" in refused("interpolate", folder("vae"), three, *out)
    words = "--split and --num choose examples of the data set"
    assert words in refused("reconstruct", folder("vae"), three, "--num", 3, *out)
    np.savez(three, x=np.zeros((3, 8, 9), np.uint8))
    assert "have shape (8, 9)" in refused("reconstruct", folder("vae"), three, *out)


def test_a_report_of_two_units(folder, data_dir, tmp_path):
    """Under classes, which go along."""
    page = tmp_path / "report.html"
    succeed("report", folder("classes"), "--out", page, "--data-dir", data_dir)
    text = page.read_text()
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    expected = ["Reconstructions", "Interpolations", "KL of each unit"]
    assert titles[2:-1] == [
        "Nearest training images",
        "As a file",
        *expected,
        "Traversal of the active units",
        "Plane of the two units",
    ]
    assert "coloured by class; the circles hold 50% and 95% of the prior" in text
    assert "on great circles, whose ends are the reconstructions. The first half has" in text
    assert re.search(r"unit 0 to the right and unit 1 upwards, all under the class \d\.<", text)
    assert "60 samples, a column for each class, seed 0" in text


def test_a_report_of_codes(folder, data_dir, tmp_path):
    """Of both grids."""
    page = tmp_path / "report.html"
    succeed("report", folder("vq_vae_2"), "--out", page, "--data-dir", data_dir)
    text = page.read_text()
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert titles[4:-1] == ["Reconstructions", "Codes", "Use of the codes"]
    assert text.index("top: ") < text.index("bottom: ")
    for name, codes in (("top", 4), ("bottom", 16)):
        use = rf"{name}: \d of 6 codes are in use, perplexity \d\.\d; {359 * codes} codes of 359"
        assert re.search(use, text)


def test_codes_of_sound_are_lines():
    """The codes of a sound stand in one row; each of 512 codes has a colour of its own."""
    model = VQVAE(sound(16, 8), strided=(4,), blocks=1, residual=2, codes=5, size=2, groups=2)
    run, medium = run_of(model), Sound(model.event, {"rate": 8000})
    x = np.asarray(random_events(model, 6))
    split = prepared.Split("some", "1.0.0", "test", x, None, model.event, 0)
    shown = str(report.maps(medium, run, split)) + str(report.use(run, split))
    assert "Codes of 4 test examples" in shown
    assert shown.count("<svg") == 2
    assert "codes: " in shown
    assert "96 codes of 6 test examples" in shown
    colours = report.colours(512)
    assert len(np.unique(colours.round(3), axis=0)) == 512
