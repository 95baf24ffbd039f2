"""Commands as a shell user knows them: names, folders, pipes, default outputs, bars, and how much they say."""

import configparser
import contextlib
import io
import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module
from test_codec_cli import model_folder

from gen_jax import Markov, __version__, image, progress
from gen_jax.cli import main
from gen_jax.included import CONFIGS, PACKAGE, config_paths
from gen_jax.media import medium_of
from gen_jax.runs import provenance
from gen_jax.runs.logging import log_to_stderr
from gen_jax.typing import Event

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--set=steps=2", "--set=evaluate.every=2", "--set=batch_size=8")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def grey(tmp_path_factory) -> Path:
    """A model of noise, of 8x8 greys of 17 levels."""
    return model_folder(tmp_path_factory.mktemp("grey"), Markov(image(8, 8, 1, 17)))


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def pipe(content: bytes = b""):
    """Standard input with this content, and standard output and error as bytes."""
    streams = [io.TextIOWrapper(io.BytesIO(part)) for part in (content, b"", b"")]
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        yield streams[1].buffer, streams[2].buffer
    finally:
        for stream in streams[1:]:
            stream.detach()  # writes the rest, and leaves the bytes open
        sys.stdin, sys.stdout, sys.stderr = before


def test_the_version_is_the_packages():
    assert call("--version")[:2] == call("-V")[:2] == (0, f"gen-jax {__version__}\n")


def test_a_config_has_a_name_in_every_folder(here, data_dir):
    """A run by name, its continuation by folder and by config.json, and another seed beside it."""
    where = ("--data-dir", data_dir, "--json")
    status, out, err = call("train", "independent_digits", *TINY, *where)
    assert status == 0
    assert re.fullmatch("step 2: validation .* bits/dim .*\n", err)
    first = json.loads(out)
    assert first["workdir"] == "runs/independent_digits"
    config = (here / "runs" / "independent_digits" / "config.json").read_text()
    for again in (f"{first['workdir']}/", f"{first['workdir']}/config.json"):
        assert json.loads(succeed("train", again, *where)) == first
    other = json.loads(succeed("train", first["workdir"], "--set=seed=3", *where))
    assert other["workdir"] == "runs/independent_digits_seed3"
    copied = json.loads(succeed("train", first["workdir"], "--workdir", "copy", *where))
    assert copied["best_validation"]["nats"] == first["best_validation"]["nats"]
    assert (here / "runs" / "independent_digits" / "config.json").read_text() == config
    status, _, err = call("train", first["workdir"], "--set=batch_size=16", *where)
    assert (status, "batch_size: 8 -> 16" in err) == (2, True), err

    rows = json.loads(succeed("runs", "--json"))["runs"]
    assert [(row["run"], row["seed"], row["step"]) for row in rows] == [
        ("independent_digits", 0, 2),
        ("independent_digits_seed3", 3, 2),
    ]
    assert rows[0]["best_validation"]["nats"] == first["best_validation"]["nats"]
    assert rows[0]["result"] is None
    number = json.loads(succeed("evaluate", "copy", *where))
    lines = succeed("runs", ".").splitlines()
    assert len(lines) == 4
    shown = f"{number['bits_per_dim']:.4f} ± {number['stderr']:.4f} bits/dim, test"
    assert lines[1].split()[:5] == ["copy", "Independent", "digits", "0", "2"]
    assert lines[1].endswith(shown)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("train", "independent_digts"), "no config 'independent_digts' (did you mean independent"),
        (("train", "nowhere/config.json"), "config not found: nowhere/config.json"),
        (("train", "a/folder"), "a/folder is not a work directory: it has no config.json"),
        (("runs", "nowhere"), "there is no folder nowhere"),
        (("runs", "a"), "no work directories below a"),
    ],
)
def test_what_is_neither_a_config_nor_a_folder(here, argv, words):
    (here / "a" / "folder").mkdir(parents=True)
    status, out, err = call(*argv)
    assert status == (0 if argv == ("runs", "a") else 2)
    assert words in (out or err)


def test_a_damaged_run_does_not_hide_the_others(here):
    """Whatever is in the JSON of a folder, the table has a row for it, or leaves it out."""
    model = {"type": "gen_jax:VAE"}
    for name, fields in {
        "good": {"model": model, "steps": 5, "data": {"fields": {"name": "x"}}},
        "bare": {"model": model, "steps": 5, "data": 3},
        "none": {"model": 3, "steps": 5},
    }.items():
        (here / name).mkdir()
        tree = {"experiment": {"fields": fields}}
        (here / name / "config.json").write_text(json.dumps(tree))
    (here / "good" / "result.json").write_text('{"nats": "many"}')
    (here / "bare" / "result.json").write_text("[")
    rows = json.loads(succeed("runs", here, "--json"))["runs"]
    assert [(row["run"], row["data"], row["result"]) for row in rows] == [
        ("bare", None, None),
        ("good", "x", None),
    ]
    assert "0 of 5" in succeed("runs", here)


def test_every_config_has_its_name():
    paths = config_paths()
    assert paths["gated_pixel_cnn_digits"] == CONFIGS / "gated_pixel_cnn_digits.py"
    assert paths["made_dna"].name == "binary_sets.py:made_dna"
    assert {path.name.partition(":")[0] for path in paths.values()} == {
        path.name for path in (ROOT / "experiments" / "configs").glob("*.py")
    }


def test_a_wheel_has_every_config_and_result():
    """The patterns of setup.cfg name them all, and none counts as code of the package."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["gen_jax"].split()
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    for folder, ending in (("configs", "py"), ("results", "json")):
        files = {path.name for path in (ROOT / "experiments" / folder).glob(f"*.{ending}")}
        assert files == {path.name for path in packed if path.parent.name == folder}


def test_configs_are_no_source_of_the_package(tmp_path, monkeypatch):
    """A wheel, where they are files of the package, has the digest of the clone it is made from."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    monkeypatch.setattr(provenance, "CONFIGS", tmp_path / "configs")
    clone = provenance.digest()
    (tmp_path / "configs" / "config.py").write_text("steps = 1\n")
    assert provenance.digest() == clone
    (tmp_path / "more.py").write_text("y = 1\n")
    assert provenance.digest() != clone


def test_the_pictures_of_a_folder_are_read_back(grey, here):
    """One PNG for each sample, which `complete` and `compress` take, and of which all levels come back."""
    succeed("sample", grey, "--num", 3, "--out", "x.npz")
    said = succeed("sample", grey, "--num", 3, "--out", "drawn/")
    assert said == "3 samples in drawn\n"
    assert sorted(path.name for path in Path("drawn").iterdir()) == [
        "0000.png",
        "0001.png",
        "0002.png",
    ]
    with np.load("x.npz") as arrays:
        x = arrays["samples"]
    succeed("complete", grey, "drawn", "--keep", "top:0.5", "--out", "again.npz")
    succeed("complete", grey, "x.npz", "--keep", "top:0.5", "--out", "same.npz")
    with np.load("again.npz") as again, np.load("same.npz") as same:
        np.testing.assert_array_equal(again["completions"], same["completions"])
        np.testing.assert_array_equal(again["completions"][:, :4], x[:, :4])
    told = json.loads(succeed("compress", grey, "drawn", "--json"))
    assert told["out"] == "drawn.gjx"
    assert told["input_bytes"] == sum(path.stat().st_size for path in Path("drawn").iterdir())
    shutil.move("drawn", "before")
    assert succeed("decompress", grey, "drawn.gjx") == "3 events in drawn\n"
    for path in Path("before").iterdir():
        assert (Path("drawn") / path.name).read_bytes() == path.read_bytes()

    for argv, words in (
        (("sample", grey, "--out", "drawn/"), "--out: drawn exists; name a new folder"),
        (("sample", grey, "--out", "no/where/"), "--out: there is no folder"),
        (("compress", grey, "again.npz", "same.npz"), "several files need a name"),
        (("compress", grey, "before", "-o", "drawn.gjx"), "drawn.gjx exists"),
    ):
        status, out, err = call(*argv)
        assert (status, out) == (2, "")
        assert words in err


@pytest.mark.parametrize(
    ("event", "presentation", "ending"),
    [
        (Event((4, 5, 3), 256), {}, ".png"),
        (Event((4, 5, 1), 2), {}, ".png"),
        (Event((9,), 256), {"rate": 8000}, ".wav"),
        (Event((9,), 3), {"alphabet": [97, 98, 99]}, ".txt"),
        (Event((4, 5, 2), 256), {}, None),
        (Event((4, 5, 1), 1000), {}, None),
        (Event((2,), None), {}, None),
        (Event((9,), 2), {}, None),
    ],
)
def test_which_examples_are_files(event, presentation, ending):
    medium = medium_of(event, presentation)
    if ending is None:
        with pytest.raises(ValueError, match="images of at most 256 levels, sounds and texts"):
            medium.check_each()
    else:
        medium.check_each()
        assert medium.endings[0] == ending
        assert medium.each(np.zeros(event.shape, int))


def test_names_of_outputs_that_nobody_gave(grey, here, data_dir):
    """What is made is named after the model or the data set, or after the file that it is made of."""
    succeed("sample", grey, "--num", 1)
    succeed("data", "export", "digits", "--limit", 1, "--data-dir", data_dir)
    succeed("complete", grey, "digits_test.npz", "--keep", "top:0.5")
    succeed("compress", grey, "digits_test.npz")
    status, _, err = call("decompress", grey, "digits_test.npz.gjx")
    assert (status, "digits_test.npz exists; --force" in err) == (2, True)
    shutil.move("digits_test.npz.gjx", "renamed.gjx")
    succeed("decompress", grey, "renamed.gjx")
    succeed("export", grey)
    assert sorted(path.name for path in here.iterdir()) == [
        "digits_test.npz",
        "model_completions.png",
        "model_model",
        "model_samples.png",
        "renamed.gjx",
        "renamed.npz",
    ]


def test_files_in_a_pipe(grey, here):
    """A file on standard input and output, with the sentence on standard error."""
    succeed("sample", grey, "--num", 1, "--out", "one/")
    [path] = Path("one").iterdir()
    picture = path.read_bytes()
    with pipe(picture) as (out, err):
        assert main(["compress", str(grey), "-"]) == 0
    packed = out.getvalue()
    assert err.getvalue().decode().startswith("-: ")
    assert f"the input has {len(picture)} bytes" in err.getvalue().decode()
    with pipe(packed) as (out, _):
        assert main(["decompress", str(grey), "-"]) == 0
    assert out.getvalue() == picture
    with pipe() as (out, err):
        assert main(["sample", str(grey), "--num", "4", "--out", "-", "--json"]) == 0
    succeed("sample", grey, "--num", 4, "--out", "grid.png")
    assert out.getvalue() == Path("grid.png").read_bytes()
    assert json.loads(err.getvalue())["out"] == "-"

    for argv, content, words in (
        (("compress", grey, "-"), b"", "standard input is empty"),
        (("compress", grey, "-", "-", "-o", "x.gjx"), b"", "can be read only once"),
        (("compress", grey, "-"), picture[:50], "standard input is a broken PNG"),
        (("decompress", grey, "-"), packed[:-3], "standard input: "),
    ):
        with pipe(content) as (out, err):
            assert main([*map(str, argv)]) == 2
        assert words in err.getvalue().decode()
        assert out.getvalue() == b""


def test_no_file_is_shown_on_a_terminal(grey):
    screen = Terminal()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(io.StringIO()) as err:
        assert main(["sample", str(grey), "--out", "-"]) == 2
    assert "standard output is a terminal" in err.getvalue()
    assert screen.getvalue() == ""


@pytest.mark.parametrize(("flags", "bars"), [((), True), (("-q",), False)])
def test_bars_are_for_commands_on_a_terminal(grey, here, flags, bars):
    screen = Terminal()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(screen):
        assert main(["sample", str(grey), "--num", "2", "--out", "x.png", *flags]) == 0
    assert ("sample" in screen.getvalue() and "0/2" in screen.getvalue()) == bars
    assert out.getvalue() == "2 samples in x.png\n"
    assert list(progress.counted(range(3), "quietly")) == [0, 1, 2]


def test_how_much_is_said(here):
    """The log with times, the usual log, or warnings only; and where an error was raised."""
    log, said = logging.getLogger("gen_jax"), {}
    for flags in ((), ("-q",), ("-v",)):
        succeed("runs", here, *flags)
        with contextlib.redirect_stderr(io.StringIO()) as err:
            log_to_stderr()
            log.info("step")
            log.warning("beware")
        said[flags] = err.getvalue()
    assert said[()] == "step\nbeware\n"
    assert said["-q",] == "beware\n"
    assert re.fullmatch(r"(\d{4}-\d\d-\d\d .* (step|beware)\n){2}", said["-v",])
    assert "Traceback" in call("runs", "nowhere", "-v")[2]
    assert "Traceback" not in call("runs", "nowhere")[2]
    assert "not allowed with argument" in call("runs", "-q", "-v")[2]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_shell_completes_what_is_typed(here):
    """The script of bash, asked as the shell asks it; the others name every command."""
    (here / "my_config.py").write_text("")
    (here / "gen-jax").write_text(succeed("completion", "bash"))
    typed = {
        "dat": ["data"],
        "data im": ["import"],
        "train gated_pixel_cnn_dy": ["gated_pixel_cnn_dynamic_mnist"],
        "train my_c": ["my_config.py"],
        "sample gated_pixel_cnn_dig": ["gated_pixel_cnn_digits"],
        "train x --paral": ["--parallel"],
        "train x --parallel p": ["pmap"],
    }
    lines = ["source ./gen-jax", 'try() { COMP_WORDS=(gen-jax "$@"); COMP_CWORD=$#; COMPREPLY=()']
    lines += ['_shtab_gen_jax gen-jax "${@: -1}" x; echo "${COMPREPLY[*]}"; }']
    script = "\n".join([*lines, *(f"try {words}" for words in typed)])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert [line.split() for line in done.stdout.splitlines()] == [*typed.values()]
    for shell in ("zsh", "fish", "tcsh"):
        assert "receptive-field" in succeed("completion", shell)
