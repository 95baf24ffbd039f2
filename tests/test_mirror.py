"""The mirror of a run: written after each save, pruned with the folder, restored from, never written over."""

import json
import shutil
import threading
from pathlib import Path

import chex
import fsspec
import pytest
import test_loop

from gen_jax import InputError
from gen_jax.experiment import load_config, overridden
from gen_jax.runs import mirror as mirrors
from gen_jax.runs.mirror import Mirror, check_folder
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}/mirror"
    fsspec.filesystem("memory").store.clear()
    return "memory://mirror"


def mirror(url, folder):
    return Mirror(url, WorkDir(folder))


def save(folder, step, content="weights"):
    """A folder like a finished checkpoint."""
    place = folder / "checkpoints" / str(step) / "state"
    place.mkdir(parents=True)
    (place / "d").write_text(f"{content} {step}")
    (place.parent / "metadata").write_text(str(step))


@pytest.fixture
def folder(tmp_path):
    """A run with two checkpoints."""
    folder = tmp_path / "run"
    for step in (10, 20):
        save(folder, step)
    for name in ("config.json", "metrics.jsonl", "lock", "damaged/5/x", "samples/10.npz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def copied(url, folder):
    """The mirror after one copy that must not fail."""
    there = mirror(url, folder)
    there._copy()
    return there


def content(folder):
    """All files of a run by name, but for those that no mirror has."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: text for name, text in names.items() if name not in ("lock", "damaged/5/x")}


def test_a_lost_folder_comes_back(url, folder):
    copied(url, folder)
    before = content(folder)
    shutil.rmtree(folder)
    mirror(url, folder).restore()
    assert content(folder) == before
    assert set(before) >= {"mirror.json", "config.json", "checkpoints/20/state/d", "samples/10.npz"}
    # What came from the mirror is not sent again.
    again = mirror(url, folder)
    again._send = lambda *_: pytest.fail("a checkpoint was sent again")
    again._copy()


def test_the_mirror_follows_the_folder(url, folder):
    """Removed checkpoints go, one saved again is sent again; those after the newest one stay."""
    there = copied(url, folder)
    shutil.rmtree(folder / "checkpoints" / "10")
    save(folder, 30)
    there._copy()
    assert mirrors._steps(there._there()) == [20, 30]
    assert not [name for name in there._there() if name.startswith("checkpoints/10")]
    (folder / "checkpoints" / "30").rename(folder / "damaged" / "30")
    (folder / "checkpoints" / "20" / "state" / "d").write_text("saved again")
    there._copy()
    assert mirrors._steps(there._there()) == [20, 30]
    assert there.store.cat_file(there._at("checkpoints/20/state/d")) == b"saved again"


def test_the_list_of_a_checkpoint_is_written_last_and_removed_first(url, folder, monkeypatch):
    """Before and after every change of the mirror, every checkpoint that it lists is whole."""
    there, seen = mirror(url, folder), []

    def whole():
        present = there._there()
        for step in mirrors._steps(present):
            listed = json.loads(there.store.cat_file(there._at(f"checkpoints/{step}.json")))
            for name, (size, _) in listed.items():
                assert present[f"checkpoints/{step}/{name}"] == size
            seen.append(step)

    for name in ("pipe_file", "put_file", "rm_file", "rm"):
        call = getattr(there.store, name)
        checked = lambda *a, call=call, **k: (whole(), call(*a, **k), whole())  # noqa: E731
        monkeypatch.setattr(there.store, name, checked)
    there._copy()
    save(folder, 30)
    shutil.rmtree(folder / "checkpoints" / "10")
    there._copy()
    assert {10, 20} <= set(seen)


def test_a_checkpoint_that_is_removed_while_it_is_copied_is_not_listed(url, folder, monkeypatch):
    there = mirror(url, folder)
    put = there.store.put_file

    def removed(path, *more, **named):
        put(path, *more, **named)
        shutil.rmtree(folder / "checkpoints" / "10", ignore_errors=True)

    monkeypatch.setattr(there.store, "put_file", removed)
    there._copy()
    assert mirrors._steps(there._there()) == [20]


def test_no_run_takes_the_mirror_of_another(url, folder, tmp_path, caplog):
    copied(url, folder)
    other = tmp_path / "other"
    save(other, 99)
    with pytest.raises(InputError, match=r"holds another run than .*; use another --mirror"):
        mirror(url, other).restore()
    with mirror(url, other).open():
        pass
    assert "it holds another run" in caplog.text
    assert mirrors._steps(mirror(url, other)._there()) == [10, 20]


def test_a_folder_behind_its_mirror_is_completed(url, folder):
    """An old copy of the folder neither goes on from its old step nor prunes the mirror."""
    copied(url, folder)
    whole = content(folder)
    shutil.rmtree(folder / "checkpoints" / "20")
    (folder / "metrics.jsonl").write_text("old")
    mirror(url, folder).restore()
    assert content(folder) == whole


def test_a_mirror_that_fails_is_tried_again_at_the_next_save(url, folder, monkeypatch, caplog):
    there, ended = mirror(url, folder), threading.Event()
    put = there.store.put_file

    def fails(*args, **named):
        ended.set()
        raise OSError("no answer")

    with there.open():
        monkeypatch.setattr(there.store, "put_file", fails)
        there.saved(lambda: False)
        assert ended.wait(10)
        monkeypatch.setattr(there.store, "put_file", put)
    assert "fails (no answer); the next save tries again" in caplog.text
    assert mirrors._steps(there._there()) == [10, 20]


def test_a_mirror_that_hangs_is_left(url, folder, monkeypatch, caplog):
    there, forever = mirror(url, folder), threading.Event()
    monkeypatch.setattr(mirrors, "PATIENCE", 0.3)
    monkeypatch.setattr(there.store, "put_file", lambda *_, **__: forever.wait(60))
    with there.open():
        pass
    forever.set()
    assert "does not answer; the folder" in caplog.text


def test_an_empty_folder_does_not_begin_anew_beside_a_mirror_that_fails(
    url, tmp_path, folder, caplog, monkeypatch
):
    """Beside a folder with a run the same costs a warning."""
    monkeypatch.setattr(Mirror, "_there", lambda self: 1 / 0)
    with pytest.raises(InputError, match="so it is not known whether"):
        mirror(url, tmp_path / "empty").restore()
    mirror(url, folder).restore()
    assert "the folder goes on without it" in caplog.text


def test_damage_in_the_mirror_is_left_out(url, folder, caplog):
    """A truncated file, and a name that leads out of the folder; without any whole checkpoint nothing begins anew."""
    there = copied(url, folder)
    shutil.rmtree(folder)
    there.store.pipe_file(there._at("checkpoints/20/state/d"), b"w")
    mirror(url, folder).restore()
    assert "checkpoint 20 of" in caplog.text
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["10"]
    shutil.rmtree(folder)
    there.store.pipe_file(there._at("checkpoints/10.json"), b'{"../../../x": [1, 1]}')
    with pytest.raises(InputError, match="has no whole checkpoint, though it lists 2"):
        mirror(url, folder).restore()
    assert "is not inside" in caplog.text


def test_urls(tmp_path):
    for url, sentence in (
        ("runs/mirror", "is not a URL such as s3://BUCKET/NAME"),
        ("nothing://x/y", "Protocol not known"),
        (f"file://{tmp_path}/run/mirror", "is inside the work directory"),
    ):
        with pytest.raises(InputError, match=sentence):
            mirror(url, tmp_path / "run")
    with pytest.raises(
        InputError, match=r"neither lock nor rename.*--mirror s3://\.\.\. keeps a copy"
    ):
        check_folder(Path("s3://bucket/run"))
    check_folder(tmp_path)
    check_folder(Path("c:"))


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of moto's server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
    yield "s3://bucket/runs/a"
    server.stop()


def test_a_lost_run_goes_on_from_its_mirror(bucket, data_dir, tmp_path, caplog):
    """The folder is lost after half of the steps; the end has the bits of the undisturbed run, in s3 too."""
    caplog.set_level("INFO", "gen_jax")
    sets = [
        *(s for s in test_loop.TINY if "steps" not in s and "every" not in s),
        "steps=8",
        "evaluate.every=2",
    ]
    config = overridden(load_config(test_loop.CONFIG), [*sets, "optimizer.learning_rate.steps=8"])
    run, undisturbed = WorkDir(tmp_path / "run"), WorkDir(tmp_path / "undisturbed")
    whole = loop.train(config, undisturbed, data_dir)
    loop.train(config, run, data_dir, until=4, mirror=bucket)
    shutil.rmtree(run.path)
    state = loop.train(config, run, data_dir, mirror=bucket)
    assert "up to step 4" in caplog.text
    chex.assert_trees_all_equal(state, whole)
    steps = [(row["step"], row["split"]) for row in run.metrics_rows()]
    assert steps == [(row["step"], row["split"]) for row in undisturbed.metrics_rows()]
    there = mirror(bucket, run.path)
    present = there._there()
    assert mirrors._steps(present) == sorted(int(path.name) for path in run.checkpoints.iterdir())
    for name, text in content(run.path).items():
        assert there.store.cat_file(there._at(name)) == text
