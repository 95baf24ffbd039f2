"""gen-jax reproduce: equal bits or within tolerance as required; changed fields of a result file are named."""

import json
import math
import subprocess
from pathlib import Path

import jax
import pytest
from test_cli import TINY, call, own_cache, succeed  # noqa: F401  a fixture of the module

from gen_jax.reproduce import reproduce
from gen_jax.runs import provenance, results
from gen_jax.runs.workdir import WorkDir

CONFIGS = Path(__file__).resolve().parents[1] / "experiments" / "configs"
INDEPENDENT = "steps=2 batch_size=8 evaluate.every=2 evaluate.batch_size=64"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@test", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def checkout(tmp_path_factory):
    """A clean git checkout of two files stands for the source that runs."""
    root = tmp_path_factory.mktemp("checkout")
    package = root / "gen_jax"
    package.mkdir()
    (package / "model.py").write_text("depth = 1\n")
    (root / "README.md").write_text("text\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "PACKAGE", package)
        yield root


def recorded(root: Path, config: str, settings: str, data_dir: Path, split: str) -> Path:
    """A run's folder, with its result next to it."""
    words = [f"--set={setting}" for setting in settings.split()]
    path = CONFIGS / f"{config}.py"
    succeed("train", path, *words, "--workdir", root / "run", "--data-dir", data_dir)
    said = succeed("evaluate", root / "run", "--split", split, "--data-dir", data_dir, "--json")
    (root / "result.json").write_text(said)
    return root / "result.json"


@pytest.fixture(scope="module")
def gated(checkout, tmp_path_factory, data_dir) -> Path:
    """The result of a Gated PixelCNN trained for four steps."""
    root = tmp_path_factory.mktemp("gated")
    return recorded(root, "gated_pixel_cnn_digits", TINY, data_dir, "test")


@pytest.fixture(scope="module")
def independent(checkout, tmp_path_factory, data_dir) -> Path:
    """The result of a baseline on validation."""
    root = tmp_path_factory.mktemp("independent")
    return recorded(root, "independent_digits", INDEPENDENT, data_dir, "validation")


@pytest.fixture(scope="module")
def again(gated, data_dir) -> tuple[dict, str]:
    """The Gated PixelCNN's result made again: killed at its last step, then continued."""
    from gen_jax.runs import logging

    where = ("--workdir", gated.parent / "again", "--data-dir", data_dir)
    scalars = logging.RunLog.scalars

    def killed(self, step, split, values):
        if step == 4:
            raise KeyboardInterrupt
        scalars(self, step, split, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.RunLog, "scalars", killed)
        status, _, err = call("reproduce", gated, *where)
    assert status == 130
    assert "the same command continues" in err
    status, out, err = call("reproduce", gated, *where, "--json")
    assert status == 0, out
    assert "continuing at step 2 of 4" in err
    return json.loads(out), err


def tampered(path: Path, folder: Path, changes: dict) -> Path:
    """A copy whose fields are changed; a change of a function is applied to the value."""
    result = json.loads(path.read_text())
    for names, value in changes.items():
        *outer, last = names.split(".")
        node = result
        for name in outer:
            node = node[name]
        node[last] = value(node[last]) if callable(value) else value
    (folder / "tampered.json").write_text(json.dumps(result))
    return folder / "tampered.json"


def wrong(record: dict) -> list[str]:
    return [row["field"] for row in record["rows"] if not row["passed"]]


def test_the_same_source_gives_the_same_bits(gated, again):
    record, _ = again
    result = json.loads(gated.read_text())
    rows = {row["field"]: row for row in record["rows"]}
    assert (record["rule"], record["because"], record["tolerance"]) == ("same bits", [], None)
    for name in ("nats", "bits_per_dim", "stderr"):
        assert rows[name]["recorded"] == rows[name]["found"] == result[name]
        assert rows[name]["allowed"] == 0
    assert record["same_bits"]
    assert all(row["passed"] for row in record["rows"])
    named = {name.partition(" ")[0] for name in rows} - {"best"}
    unnamed = {
        "stderr_method",
        "certified",
        "file_bytes",
        "file",
        "distances",
        "forward_passes",
        "seconds",
        "versions",
        "git",
        "dirty",
        *results.ON,
        "config",
        "sources",
        "lengthened",
    }
    assert named | unnamed == set(results.FIELDS)
    assert not named & unnamed


def ulp(value: float) -> float:
    return math.nextafter(value, math.inf)


@pytest.mark.parametrize(
    ("share", "versions", "different"),
    [
        (0, {}, ["nats", "bits_per_dim"]),
        (0, {"versions.jax": "0.0.1"}, []),
        (0.02, {"versions.jax": "0.0.1"}, ["nats", "bits_per_dim"]),
    ],
    ids=["last bit", "within tolerance", "beyond it"],
)
def test_a_changed_number_is_named(gated, again, tmp_path, data_dir, share, versions, different):
    """The file is changed consistently, so that only evaluation shows it. The earlier training is used again."""

    def change(value):
        return ulp(ulp(value * (1 + share)))

    nats = change(json.loads(gated.read_text())["nats"])
    changes = {"nats": nats, "bits_per_dim": nats / (64 * math.log(2)), **versions}
    path = tampered(gated, tmp_path, changes)
    where = ("--workdir", gated.parent / "again", "--data-dir", data_dir)
    status, out, _ = call("reproduce", path, *where)
    assert status == (1 if different else 0), out
    for name in different:
        assert f"\ndifferent: {name} is " in out
    assert out.count("\ndifferent: ") == len(different)
    if versions:
        assert (
            f"bits_per_dim within 1%, stderr within 10%; not the same bits, because jax is {jax.__version__},"
            in out
        )
        assert " not 0.0.1\n" in out
    else:
        assert "rule: the same bits, since source, packages" in out


def test_another_seed_gives_another_number(gated, tmp_path, data_dir):
    """Seed and config agree, so it is trained."""
    changes = {"seed": 1, "config.fields.seed": 1}
    path = tampered(gated, tmp_path, changes)
    where = ("--workdir", tmp_path / "run", "--data-dir", data_dir)
    status, out, _ = call("reproduce", path, *where, "--json")
    record = json.loads(out)
    assert status == 1
    assert {"nats", "bits_per_dim", "stderr"} <= set(wrong(record))
    assert WorkDir(tmp_path / "run").experiment().seed == 1


CONTRADICTIONS = [
    ({"system": "pixel_cnn"}, "system"),
    ({"dataset": "mnist"}, "dataset"),
    ({"dataset_version": "1.0.1"}, "dataset_version"),
    ({"num_examples": 358}, "num_examples"),
    ({"kind": "density"}, "kind"),
    ({"value": "bound"}, "value"),
    ({"draws": 1}, "draws"),
    ({"parameters": lambda n: n - 1}, "parameters"),
    ({"weights_bytes": lambda n: n + 4}, "weights_bytes"),
    ({"seed": 1}, "seed"),
    ({"config.fields.seed": 1}, "seed"),
    ({"seed": False}, "seed"),
    ({"steps": 5}, "steps"),
    ({"bits_per_dim": lambda bits: bits - 1e-6}, "bits_per_dim by nats"),
    ({"nats": lambda nats: nats - 1e-6}, "bits_per_dim by nats"),
    ({"nats": "low"}, "bits_per_dim by nats"),
    ({"nats": 10**400}, "bits_per_dim by nats"),
    (
        {"protocol": lambda said: said.replace("batch 64", "batch 65")},
        "protocol",
    ),
    ({"protocol": None}, "protocol"),
    ({"config.fields.model.fields.features": 5}, "parameters"),
]


@pytest.mark.parametrize(
    ("changes", "field"), CONTRADICTIONS, ids=[f"{one} {'.'.join(c)}" for c, one in CONTRADICTIONS]
)
def test_a_contradiction_is_named_without_training(
    gated, tmp_path, data_dir, monkeypatch, changes, field
):
    monkeypatch.setattr(reproduce, "train", None)
    monkeypatch.chdir(tmp_path)
    path = tampered(gated, tmp_path, changes)
    status, out, _ = call("reproduce", path, "--data-dir", data_dir)
    assert status == 1
    assert f"\ndifferent: {field} is " in out
    assert out.endswith(f"{path}: DIFFERENT, not trained, since training could not change that\n")
    assert not (tmp_path / "runs").exists()


def test_a_baseline_on_validation_in_the_default_folder(
    independent, tmp_path, data_dir, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    status, out, _ = call("reproduce", independent, "--data-dir", data_dir)
    assert status == 0
    name = independent.parent.name
    [folder] = (tmp_path / "runs" / f"reproduce_{name}").iterdir()
    assert out.endswith(f"reproduced to the last bit, trained in {folder.relative_to(tmp_path)}\n")
    assert '"validation"' in out


def test_a_folder_of_another_run_is_refused(independent, tmp_path, data_dir, checkout):
    """The recorded run itself would always agree; another source would give a number that is not today's."""
    words = ("reproduce", independent, "--data-dir", data_dir, "--workdir")
    status, out, err = call(*words, independent.parent / "run")
    assert (status, out) == (2, "")
    assert "was not started by `gen-jax reproduce`; use a new --workdir" in err
    succeed(*words, tmp_path / "run")
    new = checkout / "gen_jax" / "new.py"
    new.write_text("")
    try:
        status, out, err = call(*words, tmp_path / "run")
        dirty = json.loads(
            succeed("evaluate", independent.parent / "run", "--data-dir", data_dir, "--json")
        )
    finally:
        new.unlink()
    assert (status, out) == (2, "")
    assert "was started with other source, packages or machine" in err
    assert dirty["dirty"] is True


def test_what_was_trained_on_another_source_is_dirty(independent, data_dir, checkout):
    """The recorded training is of a changed source, although the checkout is clean at evaluation."""
    (checkout / "gen_jax" / "model.py").write_text("depth = 2\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "second")
    try:
        words = ("evaluate", independent.parent / "run", "--data-dir", data_dir, "--json")
        result = json.loads(succeed(*words))
        assert (result["git"], provenance.revision()["dirty"]) == (
            git(checkout, "rev-parse", "HEAD"),
            False,
        )
        assert result["dirty"] is True
    finally:
        git(checkout, "reset", "--quiet", "--hard", "HEAD~1")
    (checkout / "samples.png").write_text("a file that lies about")
    try:
        assert json.loads(succeed(*words))["dirty"] is False
    finally:
        (checkout / "samples.png").unlink()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dirty": True}, ["the recorded source had changes"]),
        ({"git": None, "dirty": None}, ["no git revision is recorded"]),
        ({"versions.numpy": "1.0"}, ["numpy is ", ", not 1.0"]),
        ({"versions": None}, ["jax is ", ", not None"]),
        ({"device": "TPU v4"}, ["device is cpu, not TPU v4"]),
        ({"devices": 1}, [f"devices is {jax.device_count()}, not 1"]),
        ({"cpu": "Z80"}, ["cpu is ", ", not Z80"]),
        ({"threads": 1000}, ["threads is ", ", not 1000"]),
        (
            {"config.fields.model.type": "elsewhere.models:Own"},
            ["elsewhere.models:Own is not part of gen_jax"],
        ),
    ],
)
def test_reasons_for_a_tolerance(gated, tmp_path, changes, words):
    assert reproduce.reasons(reproduce.load(gated)) == []
    [*reasons] = reproduce.reasons(reproduce.load(tampered(gated, tmp_path, changes)))
    assert len(reasons) == (len(provenance.versions()) if changes == {"versions": None} else 1)
    assert any(all(word in reason for word in words) for reason in reasons)


def test_the_source_is_compared_by_git(checkout, tmp_path, monkeypatch):
    first = git(checkout, "rev-parse", "HEAD")
    (checkout / "README.md").write_text("more\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "text only")
    assert provenance.changed_since(first) is None
    (checkout / "gen_jax" / "new.py").write_text("")
    assert (
        provenance.changed_since(first) == f"gen_jax/ differs from revision {first[:12]} (files: 1)"
    )
    (checkout / "gen_jax" / "model.py").write_text("depth = 3\n")
    assert (
        provenance.changed_since(first) == f"gen_jax/ differs from revision {first[:12]} (files: 2)"
    )
    (checkout / "gen_jax" / "new.py").unlink()
    git(checkout, "commit", "--quiet", "--all", "--message", "code")
    assert (
        provenance.changed_since(first) == f"gen_jax/ differs from revision {first[:12]} (files: 1)"
    )
    git(checkout, "reset", "--quiet", "--hard", first)
    assert provenance.changed_since(first) is None
    assert provenance.changed_since("0" * 40) == "revision 000000000000 is not known here"
    assert "is not a revision" in str(provenance.changed_since(f"--output={tmp_path}/x"))
    assert "is not a revision" in str(provenance.changed_since("HEAD"))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "gen_jax")
    assert provenance.changed_since(first) == "the installed gen_jax is not a git checkout"
    assert provenance.revision() == {"git": None, "dirty": None}


BAD = [
    (
        {"config.fields.model.type": "gen_jax.nowhere:Model"},
        "gen_jax.nowhere:Model is not a class of gen_jax",
    ),
    ({"config.fields.model.type": ":"}, ": is not a class of gen_jax"),
    ({"config.fields.model.fields.depth": "deep"}, "depth is 'deep', the field is int"),
    ({"config.fields.model.fields.parent": None}, "GatedPixelCNN has no field parent"),
    ({"config.fields.model.fields.kernel": -3}, "its model cannot be built"),
    (
        {"config.fields.optimizer": {"type": "builtins:dict", "fields": {}}},
        "builtins:dict is not a class of gen_jax",
    ),
    ({"config.fields.steps": 0}, "steps must be at least 1"),
    ({"config": {"fields": {}}}, "the stored config lacks class and fields"),
    ({"config": []}, "the stored config is not a gen_jax:Experiment"),
    ({"config.fields.data.fields.name": "cifar10"}, "data set 'cifar10' is not prepared in"),
    ({"split": "tset"}, "'tset' (did you mean test?)"),
    ({"split": 3}, "split is 3"),
    ({"parallel": "vmap"}, "parallel is 'vmap'"),
    ({"fsdp": 0}, "fsdp is 0"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words for _, words in BAD])
def test_a_bad_result_is_refused_in_one_line(
    gated, tmp_path, data_dir, monkeypatch, changes, words
):
    monkeypatch.chdir(tmp_path)
    refused(tampered(gated, tmp_path, changes), data_dir, words)
    assert [path.name for path in tmp_path.iterdir()] == ["tampered.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\0\ufffd", "is not JSON"),
        ('{"nats": NaN}', "is not JSON: NaN is not finite"),
        ('{"nats": 1e999}', "is not JSON: 1e999 is not finite"),
        ("[]", "is not a result file: it has no system, dataset, dataset_version"),
        ('{"bench": "sampling", "rows": []}', "is not a result file: it has no system"),
    ],
    ids=str,
)
def test_no_result_is_refused_in_one_line(tmp_path, data_dir, text, words):
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text)
    refused(path, data_dir, words)


def refused(path, data_dir, words):
    status, out, err = call("reproduce", path, "--data-dir", data_dir)
    assert (status, out) == (2, ""), err
    assert err.startswith("gen-jax: ")
    assert err.count("\n") == 1, err
    assert words in err
