"""Checkpoints: damage is noticed, the one before is used, nothing saved is lost."""

import functools
import shutil
import sys
import threading
import time
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import GatedPixelCNN, InputError, functional, image
from gen_jax.optimizer import Adam
from gen_jax.runs import storage
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.state import create_state
from gen_jax.runs.sums import sums

MODEL = GatedPixelCNN(image(4, 4, 1, 3), depth=1, features=4, first_kernel=3, head_features=4)


@functools.cache
def template():
    batch = {"x": jnp.zeros((2, 4, 4, 1), jnp.int32), "cond": None}
    return jax.jit(
        functools.partial(create_state, functional(MODEL), Adam().build(), jax.random.key(0))
    )(batch)


def state(step):
    """A state whose every leaf tells its step."""
    return jax.tree.map(lambda x: x + jnp.asarray(step, x.dtype), template())


def like():
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), template()
    )


@pytest.fixture
def saved(tmp_path):
    """Steps 10, 20, 30, 40 with validation 3, 1, 2, 4: the newest two and the best are kept."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step, validation in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 4.0)):
        checkpoints.save(step, state(step), validation)
    checkpoints.close()
    assert Checkpoints(tmp_path / "checkpoints").steps() == [20, 30, 40]
    return tmp_path / "checkpoints"


def damage(folder, how):
    """Spoil the array files of a checkpoint."""
    for path in [path for path in (folder / "state").rglob("d/*") if path.is_file()]:
        content = bytearray(path.read_bytes())
        if how == "flip":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        elif how == "truncate":
            path.write_bytes(content[: len(content) // 2])
        else:
            path.unlink()


def test_round_trip(saved):
    step, restored, _ = Checkpoints(saved).restore_newest(like(), print)
    assert step == 40
    chex.assert_trees_all_equal(restored, state(40))


def test_best_by_validation(saved):
    step, restored = Checkpoints(saved, read_only=True).restore_best(like(), print)
    assert step == 20
    chex.assert_trees_all_equal(restored, state(20))


def test_the_best_survives_a_restart(saved):
    """A manager that did not save the best itself must know it all the same."""
    with Checkpoints(saved) as checkpoints:
        checkpoints.restore_newest(like(), print)
        for step in (50, 60, 70):
            checkpoints.save(step, state(step), 5.0)
    assert Checkpoints(saved, read_only=True).steps() == [20, 60, 70]
    step, restored = Checkpoints(saved, read_only=True).restore_best(like(), print)
    assert step == 20
    chex.assert_trees_all_equal(restored, state(20))


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_walks_back_over_damage(saved, how):
    """The damaged one is named, set aside and not deleted; training goes on from the one before and can save again."""
    damage(saved / "40", how)
    warnings = []
    checkpoints = Checkpoints(saved)
    step, restored, _ = checkpoints.restore_newest(like(), warnings.append)
    assert step == 30
    chex.assert_trees_all_equal(restored, state(30))
    assert len(warnings) == 1
    assert "checkpoint 40 is damaged" in warnings[0]
    assert (saved.parent / "damaged" / "40").is_dir()
    checkpoints.save(40, state(41), 0.5)
    checkpoints.close()
    step, restored, _ = Checkpoints(saved).restore_newest(like(), print)
    assert step == 40
    chex.assert_trees_all_equal(restored, state(41))


def test_a_single_flipped_bit_changes_a_checksum():
    """One bit of one leaf is flipped in the array itself."""
    tree = {"w": np.linspace(0, 1, 1000, dtype=np.float32)}
    before = sums(jax.tree.map(jnp.asarray, tree))
    tree["w"].view(np.uint32)[500] ^= 1
    after = sums(jax.tree.map(jnp.asarray, tree))
    assert before.keys() == after.keys()
    assert before != after


def test_an_empty_folder_is_no_checkpoint(saved):
    (saved / "99").mkdir()
    step, *_ = Checkpoints(saved).restore_newest(like(), print)
    assert step == 40


def test_best_skips_damage(saved):
    damage(saved / "20", "flip")
    warnings = []
    step, _ = Checkpoints(saved, read_only=True).restore_best(like(), warnings.append)
    assert step == 30
    assert "checkpoint 20 is damaged" in warnings[0]


def test_refuses_to_start_over_when_all_are_damaged(saved):
    """Starting from scratch would lose what is there; a person has to decide."""
    for step in (20, 30, 40):
        damage(saved / str(step), "flip")
    with pytest.raises(InputError, match="none of the checkpoints"):
        Checkpoints(saved).restore_newest(like(), lambda _: None)
    assert sorted(p.name for p in saved.iterdir() if p.name.isdigit()) == ["20", "30", "40"]


def test_damaged_metrics_of_earlier_versions_hide_nothing(saved):
    """Older checkpoints have a file of metrics next to their record; nothing reads it."""
    (saved / "30" / "metrics").mkdir()
    (saved / "30" / "metrics" / "metrics").write_bytes(b"\xff{")
    with Checkpoints(saved) as checkpoints:
        checkpoints.save(50, state(50), 5.0)
    assert Checkpoints(saved, read_only=True).steps() == [20, 40, 50]
    assert Checkpoints(saved, read_only=True).restore_best(like(), print)[0] == 20


def test_what_cannot_be_read_is_not_deleted(saved):
    """The checkpoint with an unreadable record may be the best: a person decides."""
    (saved / "20" / "record" / "metadata").write_text("{")
    with Checkpoints(saved) as checkpoints:
        for step in (50, 60):
            checkpoints.save(step, state(step), 5.0)
    warnings = []
    checkpoints = Checkpoints(saved, read_only=True)
    assert checkpoints.steps() == [20, 30, 50, 60]
    assert checkpoints.restore_best(like(), warnings.append)[0] == 30
    assert [warning.partition(" (")[0] for warning in warnings] == ["checkpoint 20 is damaged"]


def test_a_checkpoint_that_vanished_is_not_damaged(saved, monkeypatch):
    """Training in another process deletes the best checkpoint before it is read, and then during the read."""
    warnings = []
    reader = Checkpoints(saved, read_only=True)
    shutil.rmtree(saved / "20")
    assert reader.restore_best(like(), warnings.append)[0] == 30
    whole = Checkpoints.restore

    def deleting(self, step, like):
        if step == 30:
            (saved / "30" / "record" / "metadata").unlink()
            threading.Timer(0.2, shutil.rmtree, [saved / "30"]).start()
        return whole(self, step, like)

    monkeypatch.setattr(Checkpoints, "restore", deleting)
    assert reader.restore_best(like(), warnings.append)[0] == 40
    assert warnings == []


def test_an_unreadable_checkpoint_says_so_once(saved, capfd, monkeypatch):
    """Orbax's threads read on after a failed read; their errors are silenced, and other thread errors are shown."""
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    damage(saved / "40", "truncate")
    Checkpoints(saved, read_only=True)
    with pytest.raises(Exception, match=r"\w"):
        Checkpoints(saved, read_only=True).restore(40, like())
    time.sleep(0.2)
    assert shown == []
    assert capfd.readouterr().err == ""
    damaged = "Encountered error while reading array index: (slice(0, 8, 1),)."  # by Orbax
    errors = [types.SimpleNamespace(exc_value=Exception(words)) for words in (damaged, "other")]
    for error in errors:
        sys.unraisablehook(error)
    assert shown == errors[1:]


def test_checkpoints_are_sound_under_64_bits(saved):
    """A template of float64 leaves: they come back in the type that they were saved in, and so do checksums."""
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, np.dtype(f"{x.dtype.kind}8")), like()
        )
        checkpoints = Checkpoints(saved, read_only=True)
        assert checkpoints.restore_best(wide, pytest.fail)[0] == 20
        chex.assert_trees_all_equal(checkpoints.restore(20, wide)[0], state(20))


@pytest.mark.parametrize("name", ["run [1]", "[!a]", "**", "a?b*"])
def test_a_folder_is_no_pattern(tmp_path, name):
    with Checkpoints(tmp_path / name) as checkpoints:
        checkpoints.save(7, state(7), 1.0)
    step, restored = Checkpoints(tmp_path / name, read_only=True).restore_best(like(), pytest.fail)
    assert step == 7
    chex.assert_trees_all_equal(restored, state(7))


def test_a_folder_that_keeps_nothing_is_refused_before_training(tmp_path, monkeypatch):
    """One leaf is saved and read back; a backslash would send it to another folder."""
    storage.try_out(tmp_path)
    with pytest.raises(InputError, match="contains a backslash"):
        storage.try_out(tmp_path / "back\\slash")
    monkeypatch.setattr(storage, "literal", lambda path: type(storage.epath.Path("/"))(path))
    (tmp_path / "run [1]").mkdir()
    with pytest.raises(InputError, match="a trial could not be read back"):
        storage.try_out(tmp_path / "run [1]")
    assert list((tmp_path / "run [1]").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["run [1]"]


def test_no_checkpoint_says_what_lies_there(tmp_path):
    (tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir(parents=True)
    reader = Checkpoints(tmp_path / "checkpoints", read_only=True)
    with pytest.raises(InputError, match="it holds 1 folder, but no finished save"):
        reader.restore_best(like(), pytest.fail)


def test_nothing_there(tmp_path):
    assert Checkpoints(tmp_path / "none").restore_newest(like(), print) is None
    with pytest.raises(InputError, match="no readable checkpoint"):
        Checkpoints(tmp_path / "none", read_only=True).restore_best(like(), print)


def test_an_unfinished_save_is_not_listed(saved):
    """What a kill in mid-save leaves behind."""
    shutil.copytree(saved / "40", saved / "50.orbax-checkpoint-tmp-1")
    assert Checkpoints(saved).steps() == [20, 30, 40]
