"""Preparing and importing write all of a set or nothing: kills, full disks, interrupts, two at a time."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from originals import npz, tree
from test_cli import call

from gen_jax import InputError
from gen_jax.data import prepared, writing
from gen_jax.data.builders import BUILDERS, common
from gen_jax.data.importing import importer, writer
from gen_jax.data.importing.importer import Options, import_files

EYE = np.eye(3, dtype=np.uint8)
SCRIPT = """
import os, signal, sys
from gen_jax.cli import main
from gen_jax.data import writing
from gen_jax.data.builders import common

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "publish":
    writing._publish = die
if sys.argv[1] == "generate":
    common.Builder._generate_examples = die
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def good(tmp_path) -> Path:
    """A file to import, in a folder of its own."""
    (tmp_path / "in").mkdir()
    return npz(tmp_path / "in" / "good.npz", train=EYE, test=EYE)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "data"


def line_of(command, root, good):
    line = ["import", "mine", good] if command == "import" else ["prepare", "digits"]
    return ["data", *map(str, line), "--data-dir", str(root)]


@pytest.mark.parametrize("command", ["import", "prepare"])
@pytest.mark.parametrize("trouble", ["publish", "generate"])
def test_a_kill_leaves_nothing_that_counts_and_nothing_for_ever(root, good, trouble, command):
    import_files("taken", [good], data_dir=root)
    name = "mine" if command == "import" else "digits"
    line = line_of(command, root, good)
    killed = subprocess.run([sys.executable, "-c", SCRIPT, trouble, *line], capture_output=True)
    assert killed.returncode == -9
    left = {path.name for path in root.iterdir()} - {"downloads"}
    assert left == {"taken", f".preparing-{name}"}
    assert prepared.prepared_names(root) == ["taken"]
    with pytest.raises(InputError, match=rf"data set '{name}' is not "):
        prepared.load(name, "train", root)
    status, _, err = call(*line)
    assert status == 0, err
    assert {path.name for path in root.iterdir()} == {"taken", name}
    assert [path.name for path in (root / name).iterdir()] == ["1.0.0"]
    assert len(prepared.load(name, "test", root)) == (3 if command == "import" else 359)


@pytest.mark.parametrize("command", ["import", "prepare"])
def test_a_full_disk_is_told_and_leaves_nothing(root, good, command, full_disk):
    status, out, err = call(*line_of(command, root / "below", good))
    name = "mine" if command == "import" else "digits"
    assert (status, out) == (2, "")
    assert err.startswith(f"gen-jax: cannot write data set '{name}' in {root}/below: ")
    assert err.endswith("File too large; nothing was written\n")
    assert len(err.splitlines()) == 1
    assert not root.exists()


def test_a_data_folder_that_is_a_file(tmp_path, good):
    (tmp_path / "file").write_text("text")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        for line in (["import", "x", good], ["prepare", "digits"]):
            status, _, err = call("data", *line, "--data-dir", place)
            assert status == 2
            assert f"cannot write data set {line[1]!r} in {place}: " in err
    assert (tmp_path / "file").read_text() == "text"


def test_what_reads_back_different_is_not_kept(root, good, monkeypatch):
    other, _ = importer.read([npz(good.with_name("other.npz"), test=EYE)], Options())
    monkeypatch.setattr(writer, "_read_back", lambda *args: other)
    with pytest.raises(InputError, match="the written data reads back different; nothing was"):
        import_files("x", [good], data_dir=root)
    assert not root.exists()


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("line", ["import x {good}", "prepare digits"])
def test_an_interrupt_cleans_up_and_promises_nothing(root, good, monkeypatch, line):
    monkeypatch.setattr(writing, "_publish", interrupt)
    arguments = line.format(good=good).split()
    status, out, err = call("data", *arguments, "--data-dir", root)
    assert (status, out, err) == (130, "", "gen-jax: interrupted\n")
    assert not root.exists()


def test_an_interrupted_training_continues(monkeypatch):
    monkeypatch.setattr("gen_jax.commands.training._train", interrupt)
    status, _, err = call("train", "config.py")
    assert (status, err.count("the same command continues from the last checkpoint")) == (130, 1)


def test_two_writers_of_one_name_do_not_mix(root, good):
    """A running writer holds the lock; a set that was written first is not overwritten."""
    with writing._workplace(root, "x") as workplace:
        with pytest.raises(InputError, match="another process is writing 'x' in "):
            import_files("x", [good], data_dir=root)
        assert [path.name for path in workplace.iterdir()] == ["lock"]
    import_files("x", [good], data_dir=root)
    before = tree(root)
    content, _ = importer.read([npz(good.with_name("other.npz"), test=EYE)], Options())
    with pytest.raises(InputError, match=r"cannot write data set 'x' in .*: Directory not empty"):
        writer.write("x", content, "other.npz", root)
    assert tree(root) == before


def test_a_set_of_another_program_is_left_alone(root, good, data_dir):
    """Here digits under another name, without our metadata."""
    shutil.copytree(data_dir / "digits", root / "x")
    (root / "x" / "1.0.0" / "metadata.json").unlink()
    before = tree(root)
    with pytest.raises(InputError, match="data set 'x' already exists with other content"):
        import_files("x", [good], data_dir=root)
    assert tree(root) == before


@pytest.mark.parametrize(
    "place", [".preparing-x/1.0.0", "x/incomplete.AB_1.0.0", "x/1.0.0.incompleteAB"]
)
def test_what_tfds_left_incomplete_is_no_set(root, data_dir, place):
    shutil.copytree(data_dir / "digits" / "1.0.0", root / place)
    assert prepared.prepared_names(root) == []
    with pytest.raises(InputError, match="data set 'x' is not in "):
        prepared.load("x", "train", root)


def test_a_long_preparation_tells_how_far_it_is(root, monkeypatch):
    monkeypatch.setattr(common, "TELL_EVERY", 800)
    status, _, err = call("data", "prepare", "digits", "--data-dir", root)
    assert (status, err) == (0, "digits: 800 examples\ndigits: 1,600 examples\n")


def test_the_list_names_every_set_and_says_what_is_prepared(root, good, data_dir):
    shutil.copytree(data_dir, root)
    import_files("mine", [good], data_dir=root)
    status, out, _ = call("data", "list", "--data-dir", root, "--json")
    found = json.loads(out)
    assert (status, found["data_dir"]) == (0, str(root))
    rows = {row["name"]: row["prepared"] for row in found["datasets"]}
    assert rows == dict.fromkeys(BUILDERS, False) | {"digits": True, "mine": True}
    text = call("data", "list", "--data-dir", root)[1]
    assert re.search(r"\n  binarized_mnist +not prepared +MNIST with a fixed", text)
    assert re.search(r"\n  mine +prepared +Imported from good\.npz\.\n", text)


def test_listing_imports_no_jax():
    code = "import sys, gen_jax.data.builders; print({'jax', 'sklearn', 'tensorflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
