"""The cost of a new system: the file `pixel_transformer.py`, and one line in `cases.py` that runs all laws on it."""

import ast
import json
from pathlib import Path

import pytest
from cases import CASES
from pixel_transformer import PixelTransformer
from test_cli import own_cache, succeed  # noqa: F401

from gen_jax import image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.autoregressive.raster import Raster
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("new") / "run"
    experiment = Experiment(
        model=PixelTransformer(image(8, 8, 1, 17), features=8, depth=1),
        data=Data("digits"),
        steps=2,
        batch_size=8,
        evaluate=Evaluate(2, 360),
    )
    train(experiment, WorkDir(folder), data_dir)
    return folder


def test_it_is_one_class_and_one_line():
    """Count the statements of its file without imports and docstrings; it redefines nothing of its family."""
    tree = ast.parse((HERE / "pixel_transformer.py").read_text())
    code = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    passed_over = (ast.Import, ast.ImportFrom)
    texts = [n for n in code if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    assert len([n for n in code if not isinstance(n, passed_over)]) - len(texts) <= 45
    given = {"sites", "init_cache", "step", "write", "sample", "log_prob", "loss", "context"}
    assert issubclass(PixelTransformer, Raster)
    assert not given & set(vars(PixelTransformer))
    lines = (HERE / "cases.py").read_text().splitlines()
    assert sum('"pixel_transformer": Case(' in line for line in lines) == 1
    assert isinstance(CASES["pixel_transformer"].model, PixelTransformer)


def test_its_certificate_passes(trained, data_dir):
    printed = succeed("certify", trained, "--data-dir", data_dir, "--examples", "3", "--trust")
    assert "the laws hold" in printed
    record = json.loads((trained / "certificate.json").read_text())
    assert record["system"] == "pixel_transformer"
    laws = {row["law"] for row in record["rows"] if row["passed"]}
    assert {"causal", "conditionals sum to 1", "step = parallel", "code length", "lossless"} <= laws
