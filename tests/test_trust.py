"""A foreign model folder is data: without --trust no class outside gen_jax is imported, and never a non-class."""

import json
import shutil
import sys

import pytest
from test_cli import call, own_cache  # noqa: F401  a fixture of the module
from test_codec_cli import model_folder

from gen_jax import InputError, Markov, classes, image
from gen_jax.cli import parser
from gen_jax.config_tree import to_tree
from gen_jax.experiment import read
from gen_jax.reproduce.reproduce import reproduce
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir

CODE = '''
import pathlib
pathlib.Path(__file__).with_name("ran").write_text("")

from gen_jax.models.baseline.markov import Markov


class Mine(Markov):
    """A model of someone else's."""
'''


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("model"), Markov(image(8, 8, 1, 17)))


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A package whose import leaves a file, and what removes its modules again."""
    package = tmp_path / "elsewhere"
    package.mkdir()
    (package / "__init__.py").write_text(CODE)
    (package / "deep.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield package / "ran"
    for name in [name for name in sys.modules if name.partition(".")[0] == "elsewhere"]:
        del sys.modules[name]


def naming(ours, path, name):
    """The folder with a model of another class."""
    folder = shutil.copytree(ours, path)
    record = json.loads((folder / "config.json").read_text())
    record["experiment"]["fields"]["model"]["type"] = name
    (folder / "config.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("name", ["elsewhere:Mine", "elsewhere.deep:Mine"])
def test_nothing_foreign_runs_before_it_is_trusted(ours, foreign, tmp_path, name):
    folder = naming(ours, tmp_path / "model", name)
    status, out, err = call("sample", folder, "--num", 2, "--out", tmp_path / "x.npz")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"{folder}/config.json: {name} is not a class of gen_jax" in err
    assert "--trust" in err
    assert not foreign.exists()
    assert "elsewhere" not in sys.modules
    trusted = ("sample", folder, "--num", 2, "--out", tmp_path / "x.npz", "--trust")
    assert call(*trusted)[0] == 0
    assert foreign.exists()


def test_python_trusts_by_argument(ours, foreign, tmp_path):
    """Allow all classes, or only those with these names."""
    folder = naming(ours, tmp_path / "model", "elsewhere:Mine")
    for trust in (False, (), {"elsewhere:Other"}):
        with pytest.raises(InputError, match="elsewhere:Mine is not a class of gen_jax"):
            load_run(folder, trust)
    assert not foreign.exists()
    assert type(load_run(folder, {"elsewhere:Mine"}).experiment.model).__name__ == "Mine"


@pytest.mark.parametrize(
    "name",
    [
        "elsewhere:Other",  # no such class in its source
        "elsewhere:pathlib.Path",
        "elsewhere.nowhere:Mine",
        "elsewhere:",
        "elsewhere",
        "nowhere:X",
        "antigravity:X",
        "this:X",
        "venv.__main__:X",
        ":X",
        "..:X",
    ],
)
def test_trust_imports_no_module_without_such_a_class(foreign, name):
    """It is looked up in the source first, so a module that only does things is not run."""
    before = set(sys.modules)
    with pytest.raises(InputError, match="is not importable"):
        classes.find(name, trust=True)
    assert not foreign.exists()
    assert not {"antigravity", "this", "venv", "webbrowser"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    "name",
    [
        "gen_jax.__main__:X",
        "gen_jax.cli:sys.exit",
        "gen_jax.experiment:Path",
        "gen_jax.experiment:types.ModuleType",
        "gen_jax.runs.run:Mesh",
        "gen_jax_evil:X",
        "gen_jax.nowhere:X",
    ],
)
def test_gen_jax_is_no_way_round(name):
    """A name in gen_jax leads neither to other packages nor to objects that are not configs."""
    with pytest.raises(InputError, match=r"is not (importable|a dataclass|a class of gen_jax)"):
        classes.find(name)


def test_every_command_that_reads_a_folder_asks():
    """Each of them has --trust; commands that read no folder do not."""
    lines = {
        "train c.py": True,
        "evaluate d": True,
        "certify d": True,
        "sample d": True,
        "complete d x.npz --keep top:0.5 --out x.png": True,
        "compress d x.npz -o x.gjx": True,
        "decompress d x.gjx -o x.npz": True,
        "export d --out m": True,
        "receptive-field d --site 1,1 --out x.png": True,
        "report d --out x.html": True,
        "reproduce r.json": True,
        "data list": False,
        "list": False,
    }
    for line, asks in lines.items():
        assert hasattr(parser().parse_args(line.split()), "trust") == asks, line


def test_a_result_file_is_data_too(ours, foreign, tmp_path):
    """`reproduce` trains what a file says."""
    from gen_jax.runs import results

    tree = to_tree(WorkDir(ours).experiment())
    tree["fields"]["model"]["type"] = "elsewhere:Mine"
    record = dict.fromkeys(results.FIELDS) | {
        "parallel": "jit",
        "fsdp": 1,
        "split": "test",
        "config": tree,
        "sources": {},
    }
    (tmp_path / "r.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="elsewhere:Mine is not a class of gen_jax"):
        reproduce(tmp_path / "r.json", tmp_path / "run", None, "")
    assert not foreign.exists()


def test_ones_own_config_is_trusted(ours, foreign, tmp_path):
    """What a training was given as Python is imported already; reading it back from disk asks again."""
    sys.path_importer_cache.clear()
    from elsewhere import Mine  # pyright: ignore[reportMissingImports]

    import gen_jax.experiment as experiments

    experiment = WorkDir(ours).experiment()
    mine = experiments.Experiment(
        model=Mine(image(8, 8, 1, 17)), data=experiment.data, steps=1, batch_size=1
    )
    workdir = WorkDir(tmp_path / "run")
    workdir.claim(mine, {})
    workdir.claim(mine, {})
    with pytest.raises(InputError, match="holds another config"):
        workdir.claim(experiment, {})
    with pytest.raises(InputError, match="--trust"):
        workdir.experiment()
    assert workdir.experiment(trust=True) == mine
    assert classes.foreign(to_tree(mine)) == ["elsewhere:Mine"]
    assert read(to_tree(mine), {"elsewhere:Mine"}) == mine
