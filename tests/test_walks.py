"""Four users from an empty folder to what they came for: a student, a researcher, an engineer, a lecturer."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHORT = ("--set=steps=4", "--set=evaluate.every=2", "--set=evaluate.examples=16")
pytestmark = pytest.mark.slow


def succeed(*argv: object) -> str:
    """What a command prints, in a process of its own with one device."""
    command = [sys.executable, "-m", "gen_jax", *map(str, argv)]
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with its own data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Colours that change slowly, with noise."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 6, (height, width, 3))
    return ((3 * rows + (2 + seed) * columns)[..., None] % 200 + noise).astype(np.uint8)


def test_a_student_trains_looks_and_compares(here):
    """Sampling before any training, two seeds side by side, longer training, completion of drawn digits."""
    succeed("sample", "gated_pixel_cnn_digits", "--num", "4", "--out", "drawn/")
    digits = sorted((here / "drawn").glob("*.png"))
    assert [Image.open(path).size for path in digits] == [(8, 8)] * 4
    succeed("data", "prepare", "digits")
    for seed in (0, 1):
        succeed("train", "gated_pixel_cnn_digits", *SHORT, f"--set=seed={seed}")
    first, second = "runs/gated_pixel_cnn_digits", "runs/gated_pixel_cnn_digits_seed1"
    succeed("train", first, "--set=steps=6")
    number = json.loads(succeed("evaluate", first, "--split", "validation", "--json"))
    assert number["value"] == "exact"
    assert 1.5 < number["bits_per_dim"] < np.log2(17)
    assert re.search(r"gated_pixel_cnn_digits_seed1 .*4", succeed("runs"))
    table = json.loads(succeed("compare", first, second, "--json"))
    assert {"seed", "steps"} <= set(table["differences"])
    succeed("complete", first, digits[0], "--keep", "top:0.5", "--out", "completed.png")
    succeed("report", first)
    assert (here / first / "report.html").stat().st_size > 50_000


def test_a_researcher_brings_a_model(here, shell_files):
    """The files of docs/own_models.md as they stand there: trained, trusted, certified, exported, trained on."""
    succeed("data", "prepare", "digits")
    succeed("train", "own/vae.py", "--set=steps=4")
    for command in ("evaluate", "certify"):
        succeed(command, "runs/vae", "--trust")
    assert json.loads((here / "runs/vae/certificate.json").read_text())["passed"]
    succeed("export", "runs/vae", "--out", "model", "--trust")
    (here / "own" / "more.py").write_text(
        "import dataclasses, vae\n"
        "experiment = lambda: dataclasses.replace(vae.experiment(), init_from='model', steps=2)\n"
    )
    succeed("train", "own/more.py", "--trust")
    first = json.loads((here / "runs/vae/result.json").read_text())
    more = json.loads(succeed("evaluate", "runs/more", "--trust", "--json"))
    assert abs(more["bits_per_dim"] - first["bits_per_dim"]) < 0.5


@pytest.fixture
def shell_files(here) -> None:
    """The Python files of docs/own_models.md, in the folder own/."""
    page = (ROOT / "docs" / "own_models.md").read_text()
    (here / "own").mkdir()
    for name, code in zip(
        ("mynets.py", "vae.py"), re.findall(r"```python\n(.*?)```", page, re.S), strict=True
    ):
        (here / "own" / name).write_text(code)


def test_an_engineer_has_a_folder_of_pictures(here):
    """Photos of several kinds become a set, a model of them compresses them; the model of the package any PNG."""
    (here / "photos").mkdir()
    for i in range(12):
        photo = Image.fromarray(picture(20 + i, 31 - i, i))
        name = ("jpg", "png", "webp")[i % 3]
        (photo.convert("RGBA") if i == 1 else photo).save(here / f"photos/{i}.{name}")
    options = ("--convert", "rgb", "--crop", "square", "--resize", "16")
    printed = succeed("data", "import", "photos", "photos", *options)
    assert "12" in printed
    changed = ("--set=batch_size=8", "--set=evaluate.every=2", "--set=steps=2")
    succeed("train", "vae_digits", "--data", "photos", *changed)
    config = json.loads((here / "runs/vae_digits_photos/config.json").read_text())
    model = config["experiment"]["fields"]["model"]
    assert model["fields"]["event"]["fields"]["shape"] == [16, 16, 3]
    samples = {name: picture(*size, 3) for name, size in {"a": (17, 33), "b": (1, 1)}.items()}
    (here / "scans").mkdir()
    for name, x in samples.items():
        Image.fromarray(x).save(here / "scans" / f"{name}.png")
    model = "image_transformer_cifar10_small"
    sentence = succeed("compress", model, "scans", "-o", "scans.gjx")
    assert "bytes" in sentence
    succeed("decompress", model, "scans.gjx", "-o", "again")
    for name, x in samples.items():
        assert np.array_equal(np.asarray(Image.open(here / "again" / f"{name}.png")), x)


def test_a_lecturer_collects_pictures(here):
    """Latents, the way of a flow's layers, noise becoming data, a film: pages that need no network."""
    succeed("data", "prepare", "digits")
    succeed("data", "prepare", "moons")
    succeed("train", "vae_digits", *SHORT, "--set=evaluate.draws=2", "--set=model.latent=2")
    for command in ("reconstruct", "interpolate"):
        succeed(command, "runs/vae_digits", "--out", f"{command}.png")
        assert Image.open(here / f"{command}.png").size[0] >= 32
    succeed("train", "real_nvp_moons", *SHORT)
    succeed("train", "ddpm_digits_small", *SHORT)
    for name in ("vae_digits", "real_nvp_moons", "ddpm_digits_small"):
        succeed("report", f"runs/{name}")
    succeed("report", "gated_pixel_cnn_digits", "--out", "film.html")
    pages = {
        path: path.read_text() for path in [*here.glob("runs/*/report.html"), here / "film.html"]
    }
    for page in pages.values():
        assert not re.search(r"(src|href)=[\"']https?://", page)
        assert "alt=''" not in page
    assert "film" in pages[here / "film.html"].lower()
    succeed("compare", "runs/vae_digits", "runs/ddpm_digits_small", "--out", "both.html")
