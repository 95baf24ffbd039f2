"""Output on the terminal: without control codes, in its encoding, and printed before files are written."""

import errno
import io
import json
import logging
import os
import shutil

import numpy as np
import pytest
from test_cli import call, own_cache  # noqa: F401  a fixture of the module
from test_codec_cli import model_folder

from gen_jax import Markov, cli, disk, image, terminal
from gen_jax.runs.logging import Handler

ESCAPES = "\x1b[2J\x1b]52;c;cm0gLXJm\x07 \x9b31m \x08\x7f\x00 \u202egnp.exe"


def test_nothing_steers_the_terminal():
    shown = terminal.clean(f"name {ESCAPES}")
    assert shown == (r"name \x1b[2J\x1b]52;c;cm0gLXJm\x07 \x9b31m \x08\x7f\x00 \u202egnp.exe")
    assert terminal.clean("two\r\nlines\tand Ünï 😀 한") == "two\nlines\tand Ünï 😀 한"
    assert terminal.clean("\rfake") == r"\x0dfake"
    assert terminal.clean(os.fsdecode(b"ni\xf1o")) == r"ni\xf1o"
    assert terminal.line("a\nb") == r"a\nb"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "Caf? ? +- 0.1 - 'x"),
        ("latin-1", "Café ? ± 0.1 - 'x"),
        ("utf-8", "Café 😀 ± 0.1 — 'x"),
        (None, "Café 😀 ± 0.1 — 'x"),
    ],
)
def test_a_terminal_of_any_encoding(encoding, shown):
    text = "Café 😀 ± 0.1 — 'x"
    hostile = io.StringIO()
    terminal.write(f"{ESCAPES}\n", hostile)
    assert hostile.getvalue().removesuffix("\n").isprintable()
    if encoding is None:
        stream = io.StringIO()  # it has none
        terminal.write(text, stream)
        assert stream.getvalue() == shown
        return
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    terminal.write(text, stream)
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == shown


def test_every_message_is_clean(tmp_path):
    """Sentences of refusals, messages of the log, usage errors; each on one line."""
    name = tmp_path / f"a\n{ESCAPES}".replace("\x00", "").replace("/", "")
    for argv in (["evaluate", name], ["sample", name, "--out", tmp_path / "x.png"], [name]):
        status, out, err = call(*argv)
        assert (status, out) == (2, "")
        assert r"\x1b[2J" in err
        assert err.removesuffix("\n").isprintable()
    stream = io.StringIO()
    log = logging.Logger("test")
    log.addHandler(Handler(stream))
    log.warning("compressed on %s", f"cpu\n{ESCAPES}")
    assert stream.getvalue().removesuffix("\n").isprintable()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An exported model of noise on digits."""
    return model_folder(tmp_path_factory.mktemp("model"), Markov(image(8, 8, 1, 17)))


@pytest.fixture
def read_only(monkeypatch):
    """Nothing new can be made in any folder, not even by the superuser."""

    def refuse(path, flags, *more, real=os.open, **named):
        if disk.TEMPORARY in str(path):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)


def test_a_number_is_said_before_it_is_saved(folder, data_dir, read_only):
    """If the folder cannot be written the number is still printed, and then the error."""
    for command, name, words in (
        ("evaluate", "result.json", "markov on digits test: "),
        ("certify", "certificate.json", "conditionals sum to 1"),
    ):
        status, out, err = call(command, folder, "--data-dir", data_dir)
        assert words in out
        assert status == 2
        assert err == (
            f"gen-jax: the result is printed above, but could not be saved as {folder / name}:"
            " Read-only file system\n"
        )
        status, out, _ = call(command, folder, "--data-dir", data_dir, "--json")
        assert (status, json.loads(out)["system"]) == (2, "markov")
        assert not (folder / name).exists()


@pytest.fixture
def digit(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((1, 8, 8), np.uint8))
    return path


@pytest.mark.filterwarnings("ignore:Error .* compilation cache")
def test_a_full_disk_leaves_no_half_file(folder, data_dir, digit, tmp_path, full_disk):
    """No file is left under any name, and existing files stay."""
    data, old = ("--data-dir", data_dir), b"kept"
    for argv in (
        ("sample", folder, "--num", 64, "--out"),
        ("complete", folder, digit, "--keep", "top:0.5", "--out"),
        ("data", "export", "digits", *data, "--out"),
    ):
        for name in ("x.npz", "x.png"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / name).write_bytes(old)
            status, out, err = call(*argv, tmp_path / "out" / name)
            assert (status, out) == (2, "")
            assert err == (
                f"gen-jax: cannot use {tmp_path}/out/{name}: File too large; saved files are kept\n"
            )
            assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
            assert (tmp_path / "out" / name).read_bytes() == old
            shutil.rmtree(tmp_path / "out")
    status, _, err = call("export", folder, "--out", tmp_path / "out")
    assert status == 2
    assert "too large" in err
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_a_folder_that_cannot_be_written_is_said_first(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    status, out, err = call("sample", folder, "--out", tmp_path / "x.png")
    assert (status, out) == (2, "")
    assert err == f"gen-jax: --out: nothing can be written in {tmp_path}\n"


def test_numbers_reach_an_ascii_terminal(folder, data_dir, monkeypatch):
    """The sign ± and all else that a sentence may hold."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr("sys.stdout", stream)
    argv = ("evaluate", folder, "--data-dir", data_dir, "--limit", "5")
    assert cli.main([str(arg) for arg in argv]) == 0
    stream.flush()
    assert b" +- 0." in stream.buffer.getvalue()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 TiB"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"),
    ],
)
def test_out_of_memory_is_one_sentence(monkeypatch, error):
    from gen_jax.evaluate import catalogue

    monkeypatch.setattr(catalogue, "systems", lambda: (_ for _ in ()).throw(error))
    status, out, err = call("list")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "out of memory: a smaller" in err
    monkeypatch.setattr(catalogue, "systems", lambda: (_ for _ in ()).throw(RuntimeError("bug")))
    with pytest.raises(RuntimeError, match="bug"):
        call("list")
