"""A model and an encoder in files beside the config: their source goes with the run and is run only where trusted."""

import json
import math
import re
import shutil
import sys
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from cases import random_events
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module

from gen_jax import VAE, Autoencoder, InputError, Markov, functional, image, sources
from gen_jax.config_tree import foreign, to_tree
from gen_jax.experiment import Data, Experiment, load_config, read
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir

CONFIG = """
from gen_jax import VAE, Adam, Data, Evaluate, Experiment, image
from mine import Encoder


def experiment():
    return Experiment(
        model=VAE(image(8, 8, 1, 17), latent=2, encoder=Encoder(features=5)),
        data=Data("digits"),
        steps=2,
        batch_size=8,
        optimizer=Adam(1e-3),
        evaluate=Evaluate(every=2, batch_size=64, examples=64),
    )
"""
# Annotations are strings here, whose names are those of the module.
ENCODER = """
from __future__ import annotations

import flax.linen as nn
from parts import scaled

Width = int


class Encoder(nn.Module):
    features: Width = 3

    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(self.features)(scaled(x.reshape(len(x), -1))))
"""
PARTS = "import pathlib\n\n\ndef scaled(x):\n    return 2.0 * x\n"
MODEL = '''
from gen_jax import Data, Experiment, Markov, image


class Mine(Markov):
    """Defined in the config itself."""


def experiment():
    return Experiment(model=Mine(image(8, 8, 1, 17)), data=Data("digits"), steps=1, batch_size=8)
'''


def written(folder: Path, **texts: str) -> Path:
    """A folder of Python files."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def new_process(monkeypatch):
    """Forget all imported classes, as in a process that has only the files of the run."""

    def forget():
        monkeypatch.setattr(sources, "_CLASSES", {})
        monkeypatch.setattr(sources, "_FILES", {})

    return forget


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir) -> Path:
    """A trained VAE with a result; its encoder was defined next to its config, and both files are gone."""
    root = tmp_path_factory.mktemp("sources")
    folder = written(root / "own", config=CONFIG, mine=ENCODER, parts=PARTS, other="1 / 0\n")
    where = ("--workdir", root / "run", "--data-dir", data_dir)
    for _ in range(2):  # the second goes on
        assert "trained 2 steps" in succeed("train", folder / "config.py", *where)
    shutil.rmtree(folder)
    return root / "run"


def test_the_source_goes_into_the_work_directory(run):
    """What the class needs and no more, with hashes."""
    assert not {"mine", "parts"} & sys.modules.keys()
    stored = json.loads((run / "config.json").read_text())["sources"]
    assert stored == {"mine.py": sources.digest(ENCODER), "parts.py": sources.digest(PARTS)}
    assert WorkDir(run).source_files() == {"mine.py": ENCODER, "parts.py": PARTS}


def test_commands_read_the_run_without_the_folder(run, new_process, data_dir, tmp_path):
    """Under --trust; an exported folder and a result file bring the source along too."""
    new_process()
    status, _, err = call("sample", run, "--num", 2, "--out", tmp_path / "x.npz")
    assert (status, err.count("\n")) == (2, 1)
    assert "mine:Encoder is not a class of gen_jax" in err
    assert not sources._CLASSES
    record = json.loads(succeed("evaluate", run, "--data-dir", data_dir, "--trust", "--json"))
    assert record["sources"] == {"mine.py": ENCODER, "parts.py": PARTS}
    succeed("export", run, "--out", tmp_path / "model", "--trust")
    succeed("sample", tmp_path / "model", "--num", 2, "--out", tmp_path / "x.npz", "--trust")
    shutil.copy(run / "result.json", tmp_path / "r.json")
    new_process()
    again = ("reproduce", tmp_path / "r.json", "--data-dir", data_dir, "--workdir")
    assert call(*again, tmp_path / "again")[0] == 2
    made = json.loads(succeed(*again, tmp_path / "again", "--trust", "--json"))
    assert not [reason for reason in made["because"] if "mine" in reason]
    assert WorkDir(tmp_path / "again").source_files() == WorkDir(run).source_files()


def test_training_goes_on_with_the_same_source_only(run, tmp_path, data_dir):
    folder = written(tmp_path / "own", config=CONFIG, mine=ENCODER, parts=PARTS + "\n# more\n")
    where = ("--workdir", run, "--data-dir", data_dir)
    status, _, err = call("train", folder / "config.py", *where)
    assert status == 2
    assert "parts.py: the source differs" in err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda run: (run / "source" / "mine.py").write_text("1 / 0\n"),
            "mine.py is not the source",
        ),
        (lambda run: (run / "source" / "parts.py").unlink(), "cannot read"),
        (lambda run: renamed(run, "../mine.py"), "its sources are not file names"),
    ],
)
def test_other_source_than_was_stored_is_not_run(run, tmp_path, new_process, change, words):
    copy = shutil.copytree(run, tmp_path / "copy")
    change(copy)
    new_process()
    with pytest.raises(InputError, match=words):
        load_run(copy, trust=True)
    assert not sources._CLASSES


def renamed(run: Path, name: str) -> None:
    record = json.loads((run / "config.json").read_text())
    record["sources"][name] = record["sources"].pop("mine.py")
    (run / "config.json").write_text(json.dumps(record))


def test_source_of_the_config_itself_and_modules_of_one_name(tmp_path, new_process):
    """The class is the same where the source is; two folders may have different modules of one name."""
    experiments = {}
    for name, text in (("one", MODEL), ("two", MODEL.replace("Defined", "Also defined"))):
        config = written(tmp_path / name, config=text) / "config.py"
        experiments[name] = load_config(config), sources.of(foreign(load_config(config)))
        assert experiments[name][1] == {"config.py": text}
    new_process()
    found = {n: read(to_tree(e), True, files) for n, (e, files) in experiments.items()}
    assert found["one"].model.__doc__ == "Defined in the config itself."
    assert found["two"].model.__doc__ == "Also defined in the config itself."
    tree, files = to_tree(found["one"]), experiments["one"][1]
    assert read(tree, True, files) == found["one"]
    assert read(tree, {"config:Mine"}, files) == found["one"]
    with pytest.raises(InputError, match="config:Mine is not a class of gen_jax"):
        read(tree, {"config:Other"}, files)
    with pytest.raises(InputError, match="not that of the present Mine"):
        read(tree, {"config:Mine"}, {"config.py": MODEL + "\n# other\n"})


def test_what_is_defined_in_a_notebook_is_refused_before_training(tmp_path):
    class Local(Markov):
        pass

    model = type("Mine", (Markov,), {"__module__": "__main__"})
    sentences = {model: "Mine is defined in a notebook or script", Local: "inside a function"}
    for cls, words in sentences.items():
        experiment = Experiment(
            model=cls(image(8, 8, 1, 17)), data=Data("digits"), steps=1, batch_size=1
        )
        with pytest.raises(InputError, match=words):
            WorkDir(tmp_path / "run").claim(experiment, {})
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "files",
    [[], {"mine": "x"}, {"mine.py": 3}, {"/mine.py": ""}, {"a/../b.py": ""}, {"a//b.py": ""}],
)
def test_a_record_of_sources_is_files_by_name(files):
    with pytest.raises(InputError, match="not Python files"):
        sources.check(files)


def test_source_that_defines_no_such_class_is_not_run(new_process):
    new_process()
    for text in ("1 / 0\n", "class Other:\n    pass\n1 / 0\n", "class Mine(:\n"):
        with pytest.raises(InputError, match="mine:Mine is not in the source"):
            sources.find("mine:Mine", {"mine.py": text}, run=True)
    with pytest.raises(InputError, match="source of mine cannot be run: ZeroDivision"):
        sources.find("mine:Mine", {"mine.py": "class Mine:\n    pass\n1 / 0\n"}, run=True)
    assert sources.find("mine:Mine", {"other.py": ""}, run=True) is None


def test_a_package_beside_the_config_goes_along_whole(tmp_path, new_process):
    folder = written(
        tmp_path / "own",
        config=MODEL.replace("class Mine(Markov)", "from pack.deep import Mine\nclass No"),
    )
    written(
        folder / "pack",
        __init__="",
        deep=f"from .base import *\n{MODEL}",
        base="from json import *\n",
    )
    experiment = load_config(folder / "config.py")
    files = sources.of(foreign(experiment))
    assert files.keys() == {"pack/__init__.py", "pack/deep.py", "pack/base.py"}
    assert "pack" not in sys.modules
    new_process()
    again = read(to_tree(experiment), True, files)
    assert type(again.model).__module__ == "pack.deep"
    assert to_tree(again) == to_tree(experiment)
    assert "pack.deep" not in sys.modules


class Flat(nn.Module):
    """An encoder, or with `outputs` a decoder, of a user's own; `extra` makes its result one of another shape."""

    extra: bool = False

    @nn.compact
    def __call__(self, x, positions=(4,), outputs=1):
        out = nn.Dense(math.prod(positions) * outputs)(x.reshape(len(x), -1))
        out = out.reshape(len(x), *positions, outputs) if outputs > 1 else out
        return out[..., None] if self.extra else out


def test_the_page_about_own_models_runs(tmp_path):
    page = (Path(__file__).resolve().parents[1] / "docs" / "own_models.md").read_text()
    encoder, config = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    folder = written(tmp_path / "own", mynets=encoder, vae=config)
    experiment = load_config(folder / "vae.py")
    assert sources.of(foreign(experiment)) == {"mynets.py": encoder}
    pure, x = functional(experiment.model), random_events(experiment.model, 2)
    shapes = jax.eval_shape(pure.init, jax.random.key(0), x)
    assert shapes["params"]["encoder"]["Dense_0"]["kernel"].shape == (64, 100)


@pytest.mark.parametrize("family", [VAE, Autoencoder])
def test_any_module_may_encode_and_decode(family):
    """InputError where what it gives has another shape, which a reshape could hide."""
    event = image(2, 3, 2, 4)
    x = random_events(family(event), 3)

    def loss(**networks):
        pure = functional(family(event, latent=2, **networks))
        key = jax.random.key(0)
        return pure.loss(pure.init(key, x), x, key)[0]

    assert np.isfinite(loss(encoder=Flat(), decoder=Flat()))
    with pytest.raises(InputError, match=r"gives a vector .*: Flat gives \(3, 4, 1\)"):
        loss(encoder=Flat(extra=True))
    with pytest.raises(InputError, match=r"a decoder gives .*: Flat gives \(3, 2, 3, \d, 1\)"):
        loss(decoder=Flat(extra=True))
