"""The command line on tiny trained runs, and every bad input refused in one line."""

import base64
import contextlib
import io
import json
import logging
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from test_readme import FIELDS

from gen_jax.cli import main
from gen_jax.data import prepared
from gen_jax.media import pictures
from gen_jax.report import page as report
from gen_jax.runs import provenance
from gen_jax.runs.run import load_run

SOURCE = Path(__file__).resolve().parents[1]
CONFIG = SOURCE / "experiments" / "configs" / "gated_pixel_cnn_digits.py"
TINY = (
    "model.depth=1 model.features=4 model.head_features=4 model.first_kernel=3 steps=4 batch_size=8"
    " evaluate.every=2 evaluate.batch_size=64 optimizer.learning_rate.steps=4"
    " optimizer.learning_rate.warmup=1"
)


def call(*argv) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(arg) for arg in argv])
        except SystemExit as leaving:
            status = leaving.code
    return status, out.getvalue(), err.getvalue()


def succeed(*argv) -> str:
    status, out, err = call(*argv)
    assert status == 0, err
    return out


def train(workdir, data_dir, *overrides) -> str:
    settings = [f"--set={override}" for override in (*TINY.split(), *overrides)]
    where = ("--workdir", workdir, "--data-dir", data_dir)
    return succeed("train", CONFIG, *settings, *where, "--json")


@pytest.fixture(scope="module", autouse=True)
def own_cache():
    """Commands keep all that they compile in the cache of the session; afterwards setting and log are as before."""
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    log = logging.getLogger("gen_jax")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir) -> Path:
    """A work directory trained for four steps, under a name that is a pattern to some libraries."""
    workdir = tmp_path_factory.mktemp("runs") / "run[1]"
    printed = json.loads(train(workdir, data_dir))
    assert (printed["workdir"], printed["steps"]) == (str(workdir), 4)
    assert printed["best_validation"]["step"] in (2, 4)
    return workdir


@pytest.fixture(scope="module")
def conditional(tmp_path_factory, data_dir) -> Path:
    """The same with ten classes and two steps."""
    workdir = tmp_path_factory.mktemp("runs") / "conditional"
    train(workdir, data_dir, "model.num_classes=10", "steps=2")
    return workdir


@pytest.fixture(scope="module")
def result(run, data_dir) -> dict:
    """What `evaluate --json` prints for the run."""
    return json.loads(succeed("evaluate", run, "--data-dir", data_dir, "--json"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory, data_dir) -> Path:
    """The first five test images as .npz."""
    path = tmp_path_factory.mktemp("images") / "digits.npz"
    out = succeed("data", "export", "digits", "--limit", 5, "--out", path, "--data-dir", data_dir)
    assert out == f"5 examples of digits test in {path}\n"
    return path


def array(path: Path) -> np.ndarray:
    with np.load(path) as arrays:
        (name,) = arrays.files
        return arrays[name]


def sheet(x, columns) -> np.ndarray:
    return np.asarray(pictures.enlarge(pictures.grid(pictures.to_grey(x, 17), columns)))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_data_export_writes_the_first_images(digits):
    flat, _ = load_digits(return_X_y=True)
    np.testing.assert_array_equal(array(digits), flat[4:25:5].reshape(5, 8, 8, 1))


def test_evaluate_reports_every_field(run, result):
    assert list(result) == FIELDS
    assert (result["num_examples"], result["dataset"], result["split"]) == (359, "digits", "test")
    assert math.isclose(result["bits_per_dim"], result["nats"] / (64 * math.log(2)))
    assert (result["system"], result["kind"]) == ("gated_pixel_cnn", "mass")
    assert (result["value"], result["draws"], result["certified"]) == ("exact", None, False)
    assert (result["steps"], result["seed"], result["file_bytes"]) == (4, 0, None)
    assert result["weights_bytes"] == 4 * result["parameters"] > 0
    assert 0 < result["stderr"] < result["bits_per_dim"] < math.log2(17) + 0.1
    assert result["versions"]["jax"] == jax.__version__
    assert result["config"] == json.loads((run / "config.json").read_text())["experiment"]
    assert json.loads((run / "result.json").read_text()) == result


def test_evaluate_is_the_mean_of_the_log_probs(run, result, data_dir, tmp_path):
    """Against one plain call of the model; a limit counts the first examples and keeps nothing."""
    loaded = load_run(run)
    x = prepared.load("digits", "test", data_dir).x
    nats = -np.asarray(jax.jit(loaded.model.log_prob)(loaded.variables, x), np.float64)
    assert math.isclose(result["nats"], nats.mean(), rel_tol=1e-5)
    bits = nats / (64 * math.log(2))
    assert math.isclose(result["stderr"], bits.std(ddof=1) / math.sqrt(359), rel_tol=1e-4)

    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("result.json"))
    for limit in (10, 1):
        out = succeed("evaluate", copy, "--limit", limit, "--data-dir", data_dir, "--json")
        assert "NaN" not in out
        limited = json.loads(out)
        assert limited["num_examples"] == limit
        assert math.isclose(limited["nats"], nats[:limit].mean(), rel_tol=1e-5)
    out = succeed("evaluate", copy, "--split", "validation", "--data-dir", data_dir)
    assert "gated_pixel_cnn on digits validation: " in out
    assert not (copy / "result.json").exists()


def test_samples_follow_the_seed(run, tmp_path):
    def draw(name, *options):
        out = tmp_path / name
        record = json.loads(succeed("sample", run, "--num", 5, "--out", out, "--json", *options))
        assert record == {"out": str(out), "num": 5, "step": record["step"]}
        return out

    first = array(draw("a.npz"))
    assert (first.shape, first.dtype) == ((5, 8, 8, 1), np.uint8)
    assert first.max() <= 16
    assert len(np.unique(first)) > 8
    np.testing.assert_array_equal(array(draw("b.npz", "--seed", 0)), first)
    assert np.mean(array(draw("c.npz", "--seed", 1)) != first) > 0.5
    np.testing.assert_array_equal(pixels(draw("a.png")), sheet(first, 2))
    mode = array(draw("mode.npz", "--temperature", 1e-6))
    np.testing.assert_array_equal(mode, np.repeat(mode[:1], 5, axis=0))


def test_completions_keep_the_known_pixels(run, digits, tmp_path):
    def complete(name, *options, images=(digits,)):
        out, keep = tmp_path / name, ("--keep", "top:0.5")
        printed = succeed("complete", run, *images, *keep, "--out", out, "--json", *options)
        assert json.loads(printed)["kept_sites"] == 32
        return out

    images, drawn = array(digits), array(complete("a.npz"))
    np.testing.assert_array_equal(drawn[:, :4], images[:, :4])
    assert np.mean(drawn[:, 4:] != images[:, 4:]) > 0.5
    other = array(complete("b.npz", "--seed", 1))
    np.testing.assert_array_equal(other[:, :4], images[:, :4])
    assert np.mean(other[:, 4:] != drawn[:, 4:]) > 0.5

    kept = images * (np.arange(8) < 4)[:, None, None]
    rows = np.stack([images, kept, drawn], axis=1).reshape(15, 8, 8, 1)
    np.testing.assert_array_equal(pixels(complete("a.png")), sheet(rows, 3))

    files = [tmp_path / f"{i}.png" for i in range(5)]
    for file, x in zip(files, images, strict=True):
        Image.fromarray(pictures.to_grey(x[..., 0], 17)).save(file)
    np.testing.assert_array_equal(array(complete("c.npz", images=files)), drawn)


def test_the_report_is_one_file(run, result, data_dir, tmp_path):
    out = tmp_path / "report.html"
    assert succeed("report", run, "--out", out, "--data-dir", data_dir) == f"report in {out}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = out.read_text()
    sources = re.findall(r"""\b(?:src|href)\s*=\s*["']?([^"'\s>]*)""", page)
    assert all(f'id="{found[1:]}"' in page for found in sources if found.startswith("#"))
    pictures = [found for found in sources if not found.startswith("#")]
    # samples, nearest, completions; 24 images and their bits; three receptive fields, each with its scale
    assert len(pictures) == 3 + 25 + 6
    for found in pictures:
        kind, _, data = found.partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert len(picture.convert("RGB").getcolors(2**20)) > 2
    assert not re.search(r"@import|url\((?!#)|<link|<iframe", page)
    assert page.count("<script") == page.count('<div class="film"') == 1
    assert f"{result['bits_per_dim']:.4f} ± {result['stderr']:.4f} bits/dim" in page
    assert "WarmupCosine" in page
    assert re.search(r"<td>top:0.5</td><td>32</td><td>\d\.\d{3} ± 0\.\d{3}</td></tr>", page)
    assert re.search(r"the first 64 as a file: [\d,]+ bytes .* PNG [\d,]+, WebP [\d,]+\.", page)


def test_a_report_shows_validation_where_there_is_no_test_split(run, data_dir, tmp_path):
    folder = shutil.copytree(data_dir / "digits", tmp_path / "digits") / "1.0.0"
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] != "test"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    copy = shutil.copytree(run, tmp_path / "run")
    for named in ((), ("--split", "validation")):
        (copy / "result.json").unlink(missing_ok=True)
        assert "on digits validation: " in succeed("evaluate", copy, *named, "--data-dir", tmp_path)
        assert json.loads((copy / "result.json").read_text())["split"] == "validation"
    succeed("report", run, "--out", tmp_path / "x.html", "--data-dir", tmp_path)
    page = (tmp_path / "x.html").read_text()
    assert "<p>Examples are from validation, because digits has no test split here.</p>" in page
    assert "on 12 validation images; their mean is" in page


def test_a_report_of_an_unevaluated_run_says_what_is_known(run, data_dir, tmp_path, monkeypatch):
    """The report says whether the result is of the same source, by digest, and which command writes the number."""
    copy = shutil.copytree(run, tmp_path / "a&b")
    (copy / "result.json").unlink(missing_ok=True)
    page = tmp_path / "x.html"

    def of_source() -> str:
        monkeypatch.setattr(report, "_samples", lambda *args: ("", None))
        monkeypatch.setattr(report, "_of_medium", lambda *args: [])
        succeed("report", copy, "--out", page, "--data-dir", data_dir)
        return re.search(r"source</th><td><code>(.*?)</code>", page.read_text())[1]

    monkeypatch.setattr(provenance, "revision", lambda: {"git": "f" * 40, "dirty": True})
    assert of_source() == f"{'f' * 40} with changes"
    assert f"<code>gen-jax evaluate {tmp_path}/a&amp;b</code> writes the" in page.read_text()
    config = json.loads((copy / "config.json").read_text())
    config["machine"]["source"] = "0" * 64
    (copy / "config.json").write_text(json.dumps(config))
    assert of_source() == "unknown: the run was started with other packages or another gen_jax"


def test_a_diverged_training_is_named_everywhere(data_dir, tmp_path, monkeypatch):
    """A rate of 1e9 ends with status 0, since training ran to its end, but the output says that it diverged."""
    fast = ("optimizer.learning_rate.peak=1e9", "optimizer.learning_rate.warmup=0", "ema=0")
    found = json.loads(train(tmp_path / "run", data_dir, *fast))
    words = "bits/dim is far worse than a uniform distribution (4.09): training diverged"
    assert words in found["findings"][0]
    settings = [f"--set={one}" for one in (*TINY.split(), *fast)]
    where = ("--data-dir", data_dir)
    line = succeed("train", CONFIG, *settings, "--workdir", tmp_path / "run", *where)
    assert f"trained 4 steps in {tmp_path}/run; at the end " in line
    assert words in line
    monkeypatch.setattr(report, "_samples", lambda *args: ("", None))
    monkeypatch.setattr(report, "_of_medium", lambda *args: [])
    for _ in range(2):  # by the last validation, then by the result
        succeed("report", tmp_path / "run", "--out", tmp_path / "x.html", *where)
        assert words in (tmp_path / "x.html").read_text()
        assert words in succeed("evaluate", tmp_path / "run", *where)


def test_training_again_does_nothing(run, data_dir):
    files = [path for path in run.rglob("*") if "tensorboard" not in path.parts and path.is_file()]
    before = {path: path.read_bytes() for path in files}
    assert json.loads(train(run, data_dir))["steps"] == 4
    assert {path: path.read_bytes() for path in files} == before
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["2", "4"]


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder of files and folders that no command should take."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "none.py").write_text("steps = 3\n")
    (folder / "empty").mkdir()
    (folder / "file").write_text("text")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "config.json").write_text("{")
    np.savez(folder / "large.npz", a=np.zeros((1, 28, 28), np.uint8))
    np.savez(folder / "high.npz", a=np.full((1, 8, 8), 17))
    Image.new("L", (28, 28)).save(folder / "large.png")
    Image.new("L", (8, 8)).save(folder / "broken.png")
    (folder / "broken.png").write_bytes((folder / "broken.png").read_bytes()[:45])
    return folder


@pytest.fixture
def places(tmp_path, bad, run, conditional, data_dir, digits) -> dict:
    """The files that REFUSED names; `new` is empty and must stay empty."""
    places = {"new": tmp_path, "bad": bad, "config": CONFIG, "data": data_dir, "images": digits}
    return places | {
        "run": run,
        "conditional": conditional,
        "train": f"train {CONFIG} --data-dir {data_dir} --workdir {tmp_path}/run",
        "complete": f"complete {run} --out {tmp_path}/x.png --keep",
        "sample": f"sample {run} --out {tmp_path}/x.png",
    }


REFUSED = [
    ("train {bad}/no.py", "config not found: {bad}/no.py"),
    ("train {bad}/none.py", "{bad}/none.py does not define experiment()"),
    ("{train} --set model.deph=3", "no field 'deph' (did you mean depth?)"),
    ("{train} --set steps=1.5", "steps: 1.5 is a float, the field is int"),
    ("{train} --set data.name=binarized_mnist", "gen-jax data prepare binarized_mnist"),
    ("{train} --set model.event.shape=(28,28,1)", "model is for (28, 28, 1) with 17 levels"),
    ("{train} --set model.num_classes=3", "the model has 3 classes, data set digits has 10"),
    ("train {config} --data-dir {data} --workdir {run}", "model.depth: 1 -> "),
    (
        "train {config} --data-dir {data} --workdir {bad}",
        "{bad} exists and is not a work directory",
    ),
    ("train {config} --data-dir {data} --workdir {bad}/file", "exists and is not a work directory"),
    ("train {config} --data-dir {data} --workdir {new}/a\\b", "a\\b contains a backslash"),
    ("evaluate {run} --data-dir {bad}", "data set 'digits' is not prepared in {bad}"),
    ("evaluate {run} --data-dir {data} --split tset", "'tset' (did you mean test?)"),
    ("evaluate {run} --data-dir {data} --limit 0", "--limit: '0' is not a positive whole number"),
    ("evaluate {bad}/empty", "{bad}/empty is not a work directory: it has no config.json"),
    ("evaluate {bad}/nowhere", "{bad}/nowhere is not a work directory: it does not exist"),
    ("evaluate {bad}/damaged", "{bad}/damaged/config.json is damaged"),
    ("{sample} --label 3", "is not class-conditional: it takes no --label"),
    ("sample {conditional} --out {new}/x.png --label 10", "--label 10 is out of range"),
    ("sample {conditional} --out {new}/x.png --label -1", "has classes 0 to 9"),
    ("{sample} --num 0", "--num: '0' is not a positive whole number"),
    (
        "{sample} --temperature -1",
        "--temperature: a temperature is 0, for the mode, or from 1e-30 to 1e+30",
    ),
    ("{sample} --temperature nan", "as float32 has it, not nan"),
    ("{sample} --seed -1", "--seed: '-1' is not a whole number from 0"),
    ("{sample} --seed 4294967296", "--seed: '4294967296' is not a whole number"),
    ("sample {run} --out {new}/x.gif", "ends in .png or .npz, not {new}/x.gif"),
    ("sample {run} --out {bad}/empty/", "--out: {bad}/empty exists; name a new folder"),
    ("sample {run} --out {bad}/no/x.png", "--out: there is no folder {bad}/no"),
    ("{sample} --prompt a", "--prompt is only for models of text"),
    ("{sample} --length 9", "shape (8, 8, 1) are not sequences: there is no length to choose"),
    ("{complete} top:0.5 {bad}/large.npz", "shape (28, 28), the model is of shape (8, 8, 1)"),
    ("{complete} top:0.5 {bad}/large.png", "{bad}/large.png is 28x28, the model is for 8x8"),
    ("{complete} top:0.5 {bad}/high.npz", "values run from 17 to 17"),
    ("{complete} top:0.5 {bad}/broken.png", "{bad}/broken.png is a broken PNG"),
    ("{complete} top:0.5 {images} --label 3", "is not class-conditional"),
    (
        "{complete} bottom:0.5 {images}",
        "only a prefix of the model's order of generation can be kept",
    ),
    ("{complete} left:0.5 {images}", "gap at (0, 4, 0)"),
    ("{complete} right {images}", "SIDE:FRACTION such as top:0.5, with a side of top, bottom"),
    ("{complete} top:1.5 {images}", "not 'top:1.5'"),
    ("{complete} top:nan {images}", "not 'top:nan'"),
    ("complete {run} --keep top:0.5 {images} --out {bad}/no/x.npz", "no folder {bad}/no"),
    ("report {bad}/empty --out {new}/x.html", "it has no config.json"),
    ("report {run} --data-dir {data} --out {bad}/no/x.html", "no folder {bad}/no"),
    ("report {run} --data-dir {data} --out {new}/x.png", "ends in .html"),
    ("data prepare digitz --data-dir {bad}", "'digitz' (did you mean digits?)"),
    ("data export digits --out {new}/x.npz --data-dir {bad}", "is not prepared in {bad}"),
    ("data export digits --out {new}/x.wav --data-dir {data}", "ends in .png or .npz, not"),
    ("tarin {config}", "invalid choice: 'tarin'"),
    ("data", "the following arguments are required: COMMAND"),
]


def test_a_process_writes_one_line_too(places):
    """Standard error as the system sees it: nothing from the libraries that read the checkpoint."""
    line = "sample {run} --out {new}/x.png --label 3".format(**places)
    command = [sys.executable, "-m", "gen_jax", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        "gen-jax: gated_pixel_cnn is not class-conditional: it takes no --label\n", done.stderr
    )


@pytest.mark.parametrize(("line", "words"), REFUSED, ids=[line for line, _ in REFUSED])
def test_a_bad_input_is_refused_in_one_line(places, line, words):
    """Status 2, one line that names the trouble on standard error, nothing else anywhere."""
    status, out, err = call(*line.format(**places).split())
    assert (status, out, err[:7], err[-1:]) == (2, "", "gen-jax", "\n"), err
    assert len(err.splitlines()) == 1, err
    assert words.format(**places) in err
    assert list(places["new"].iterdir()) == []
