"""--help of every command and `list`: an example each, and no wait for jax."""

import json
import re
import subprocess
import sys

import pytest

COMMANDS = (
    "train, reproduce, evaluate, probe, certify, sample, complete, reconstruct, interpolate, receptive-field, report,"
    " compare, compress, decompress, list, runs, completion, data, data list, data prepare, data palette, data export,"
    " data import, bench, bench sampling, bench codec, bench training, bench growth, bench scaling, bench attention"
)


@pytest.fixture(scope="module")
def helps() -> dict:
    """Status, text and whether jax was imported, of each command's --help in a fresh process."""
    program = """
import contextlib, io, json, sys
from gen_jax.cli import main
found = {}
for command in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            status = main(command)
        except SystemExit as leaving:
            status = leaving.code
    found[" ".join(command)] = [status, out.getvalue(), "jax" in sys.modules]
print(json.dumps(found))
"""
    commands = [[*command.split(), "--help"] for command in COMMANDS.split(", ")]
    argument = json.dumps([["--help"], *commands, ["list", "--json"]])
    command = [sys.executable, "-c", program, argument]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("command", COMMANDS.split(", "))
def test_help_has_an_example_and_needs_no_jax(helps, command):
    status, text, jax_imported = helps[f"{command} --help"]
    assert (status, jax_imported) == (0, False)
    assert text.startswith(f"usage: gen-jax {command} ")
    _, _, example = text.partition("\nexample:\n")
    assert re.match(rf"(eval .\$\()?gen-jax {command}", example.strip())


def test_help_names_every_command(helps):
    status, text, jax_imported = helps["--help"]
    assert (status, jax_imported) == (0, False)
    for command in COMMANDS.split(", "):
        assert re.search(rf"^ +{command.split()[0]}\s", text, re.MULTILINE)


def test_list_names_systems_and_configs_without_jax(helps):
    status, text, jax_imported = helps["list --json"]
    assert (status, jax_imported) == (0, False)
    found = json.loads(text)
    systems = {row["system"]: row for row in found["systems"]}
    assert systems["gated_pixel_cnn"]["family"] == "autoregressive"
    assert systems["gated_pixel_cnn"]["is"].startswith("Gated PixelCNN: log p(x)")
    assert "base" not in systems
    assert "gated_pixel_cnn_digits" in {row["name"] for row in found["trained"]}
    configs = {row["config"]: row for row in found["configs"]}
    assert configs["experiments/configs/gated_pixel_cnn_digits.py"]["published"] is None
    mnist = configs["experiments/configs/gated_pixel_cnn_binarized_mnist.py"]
    assert mnist["published"].startswith("81.30 nats")
    assert mnist["is"] == "Gated PixelCNN on fixed-binarised MNIST (28x28, 2 levels)."


def test_a_reader_who_leaves_costs_nothing():
    """As in `gen-jax list | head`: no traceback."""
    command = [sys.executable, "-m", "gen_jax", "list"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    program.stdout.close()
    assert program.stderr.read() == b""
    assert program.wait() == 1
