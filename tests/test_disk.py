"""Files are written completely or not at all, under unguessable temporary names, and never through a link."""

import os
import stat

import numpy as np
import pytest

from gen_jax import InputError, Markov, disk, image
from gen_jax.data.prepared import Data
from gen_jax.experiment import Experiment
from gen_jax.runs import weights
from gen_jax.runs.logging import RunLog
from gen_jax.runs.workdir import WorkDir


def test_a_file_is_whole_or_not_there(tmp_path, full_disk):
    path = tmp_path / "x"
    disk.write_atomically(path, "old")
    with pytest.raises(OSError, match="too large") as refusal:
        disk.write_atomically(path, b"n" * 2000)
    assert refusal.value.filename == str(path)
    assert path.read_text() == "old"

    def interrupted():
        with disk.new_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_whole_or_not_there(tmp_path):
    path = tmp_path / "x"

    def failing():
        with disk.new_folder(path) as folder:
            (folder / "half").write_text("")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert list(tmp_path.iterdir()) == []
    for make in (path.mkdir, lambda: path.symlink_to("nowhere")):
        make()
        with pytest.raises(FileExistsError), disk.new_folder(path) as folder:
            (folder / "new").write_text("")
        assert list(tmp_path.iterdir()) == [path]
        path.unlink() if path.is_symlink() else path.rmdir()
    with disk.new_folder(path) as folder:
        (folder / "new").write_text("")
    assert [one.name for one in path.iterdir()] == ["new"]


def test_temporary_names_are_new_and_random(tmp_path, monkeypatch):
    """A file that already has the temporary name is neither followed nor changed."""
    opened, victim = [], tmp_path / "victim"
    victim.write_text("mine")
    real = os.open

    def spy(path, flags, *more, **named):
        opened.append((str(path), flags))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", spy)
    for _ in range(2):
        disk.write_atomically(tmp_path / "x", "new")
    (one, flags), (other, _) = opened
    assert one != other
    assert len(one) - len(str(tmp_path)) >= 16
    assert flags & os.O_EXCL
    assert flags & os.O_NOFOLLOW
    monkeypatch.setattr(disk.secrets, "token_hex", lambda count: "guessed")
    (tmp_path / f"{disk.TEMPORARY}guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        disk.write_atomically(tmp_path / "x", "lost")
    assert victim.read_text() == "mine"


def test_a_link_under_the_final_name_is_replaced(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "x"
    victim.write_text("mine")
    path.symlink_to(victim)
    disk.write_atomically(path, "new")
    assert (victim.read_text(), path.read_text()) == ("mine", "new")
    assert not path.is_symlink()


def test_files_have_the_usual_rights(tmp_path):
    before = os.umask(0o027)
    try:
        disk.write_atomically(tmp_path / "x", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


EXPERIMENT = Experiment(model=Markov(image(2, 2, 1, 2)), data=Data("none"), steps=1, batch_size=1)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> bytes:
    """config.json of a claimed folder."""
    workdir = WorkDir(tmp_path_factory.mktemp("claimed") / "run")
    workdir.claim(EXPERIMENT, {})
    assert [path.name for path in workdir.path.iterdir()] == ["config.json"]
    return workdir.config.read_bytes()


@pytest.fixture
def claimed(config, tmp_path) -> WorkDir:
    workdir = WorkDir(tmp_path / "run")
    workdir.path.mkdir()
    workdir.config.write_bytes(config)
    return workdir


FILES = ["config.json", "metrics.jsonl", "result.json", "certificate.json", "weights.npz", "lock"]
FOLDERS = ["checkpoints", "tensorboard", "damaged", "checkpoints/7", "checkpoints/7/state"]


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
@pytest.mark.parametrize("name", FILES + FOLDERS)
def test_a_work_directory_with_a_link_is_refused(claimed, tmp_path, name, kind):
    """All readers and writers refuse it; the target of the link is unchanged."""
    victim, workdir = tmp_path / "victim", claimed
    inside = workdir.path / name
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(inside)
    else:
        inside.symlink_to(victim)
    if kind == "link":
        victim.mkdir() if name in FOLDERS else victim.write_text("mine")
    words = f"{inside} is " + ("neither a file nor a folder" if kind == "pipe" else "a link")
    with pytest.raises(InputError, match=words):
        workdir.experiment()
    with pytest.raises(InputError, match=words):
        workdir.claim(EXPERIMENT, {})
    if kind == "link":
        assert list(victim.iterdir()) == [] if name in FOLDERS else victim.read_text() == "mine"
    else:
        assert not victim.exists()


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "config.json"])
def test_an_export_copies_no_link(claimed, tmp_path, name):
    secret, workdir = tmp_path / "secret", claimed
    secret.write_text((workdir.path / "config.json").read_text())
    (workdir.path / name).unlink(missing_ok=True)
    (workdir.path / name).symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        weights.export(workdir, {"params": {"x": np.zeros(3)}}, 1, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "secret"]


def test_logs_and_locks_follow_no_link(claimed, tmp_path):
    """The target is neither emptied nor extended, even if the link appears after the folder was checked."""
    victim, workdir = tmp_path / "victim", claimed
    victim.write_text("mine")
    workdir.lock.symlink_to(victim)
    with pytest.raises(InputError, match="as a lock"), workdir.locked():
        pass
    with RunLog(workdir, 3, 0, "nats") as log:
        log.scalars(1, "train", {"loss": 1.0})
    workdir.metrics.unlink()
    workdir.metrics.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        disk.appended(workdir.metrics)
    assert victim.read_text() == "mine"


def test_a_lock_is_held_once(tmp_path):
    def hold():
        with disk.locked(tmp_path / "lock", "taken"):
            pass

    with disk.locked(tmp_path / "lock", "taken"), pytest.raises(InputError, match="taken"):
        hold()
    hold()


@pytest.mark.parametrize("target", ["/nowhere/scratch", "run"])
def test_a_work_directory_that_is_a_dangling_link(tmp_path, target):
    path = tmp_path / "run"
    path.symlink_to(target)
    for place in (path, path / "deep"):
        with pytest.raises(
            InputError,
            match=f"{path} is a link to /nowhere|cannot (make the folder|read) {place}",
        ):
            WorkDir(place).claim(EXPERIMENT, {})
