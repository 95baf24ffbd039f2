"""The wheel alone, in an environment without a clone and from an empty folder: sample, train, compress."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FILES = ("pyproject.toml", "setup.cfg", "requirements.txt", "README.md", "LICENSE")
COLOUR = "image_transformer_cifar10_small"
MODELS = ("gated_pixel_cnn_digits", "sparse_transformer_mnist", COLOUR)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, since a build leaves folders in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("gen_jax", "experiments/configs", "experiments/results"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=unwanted)
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    options = ["--no-deps", "--wheel-dir", str(folder)]
    if int(version("setuptools").split(".")[0]) >= 77:  # as pyproject.toml wants; else pip gets it
        options.append("--no-build-isolation")
    done = run(sys.executable, "-m", "pip", "wheel", *options, str(tree))
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("setuptools 77 is neither installed nor to be had")
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory) -> Path:
    """`gen-jax` of a new environment with the wheel and, behind it, the packages that it requires."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = ["install", "--no-deps", "--no-index", str(wheel)]
    done = run(sys.executable, "-m", "pip", "--python", str(python), *install)
    assert done.returncode == 0, done.stderr
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "gen-jax"


def run(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if folder is not None:
        environment["TFDS_DATA_DIR"] = str(folder / "data")
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_it_holds_models_configs_and_results_and_stays_small(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for model in MODELS:
        for file in ("config.json", "weights.npz", "certificate.json", "result.json"):
            assert f"gen_jax/trained/{model}/{file}" in names
    for folder in ("configs", "results"):
        ours = (ROOT / "experiments" / folder).glob("*.py" if folder == "configs" else "*.json")
        assert {f"gen_jax/{folder}/{path.name}" for path in ours} <= {*names}
    assert not [name for name in names if name.startswith(("tests", "experiments"))]
    assert wheel.stat().st_size < 4e6


@pytest.mark.slow
def test_a_newcomer_samples_trains_and_compresses(program, tmp_path):
    """In an empty folder: the README's Python, commands by names alone, a colour PNG of odd sides there and back."""

    def gen_jax(*words: str) -> str:
        done = run(str(program), *words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(
        str(program.with_name("python")),
        "-c",
        "import gen_jax; print(gen_jax.__file__)",
        folder=tmp_path,
    )
    assert str(program.parents[1]) in where.stdout, where.stderr
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = run(str(program.with_name("python")), "-c", code, folder=tmp_path)
    assert " bytes for " in done.stdout, done.stderr
    gen_jax("sample", "gated_pixel_cnn_digits", "--num", "4", "--out", "grid.png")
    assert Image.open(tmp_path / "grid.png").size[0] >= 16
    gen_jax("data", "prepare", "digits")
    gen_jax("train", "gated_pixel_cnn_digits", "--set", "steps=2", "--set", "evaluate.every=2")
    assert "bits/dim" in gen_jax("evaluate", "runs/gated_pixel_cnn_digits", "--split", "validation")

    rows, columns = np.mgrid[:33, :41]
    noise = np.random.default_rng(0).integers(0, 6, (33, 41, 3))
    samples = ((3 * rows + 2 * columns)[..., None] % 200 + noise).astype(np.uint8)
    Image.fromarray(samples).save(tmp_path / "photo.png")
    gen_jax("compress", COLOUR, "photo.png")
    (tmp_path / "photo.png").unlink()
    gen_jax("decompress", COLOUR, "photo.png.gjx")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "photo.png")), samples)
    assert (tmp_path / "photo.png.gjx").stat().st_size < samples.size
