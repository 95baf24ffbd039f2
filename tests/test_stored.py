"""Damaged files of a run: one sentence; a damaged log does not stop anything."""

import json

import pytest
from test_experiment import make

from gen_jax import InputError, stored
from gen_jax.experiment import replace
from gen_jax.runs.workdir import WorkDir

DAMAGED = {
    "cut short": b'{"experiment": ',
    "no UTF-8": b'{"a": "\xff"}',
    "nested": b"[" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "empty": b"",
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_record_is_one_sentence(tmp_path, how):
    path = tmp_path / "config.json"
    path.write_bytes(DAMAGED[how])
    for read in (lambda: stored.record(path), WorkDir(tmp_path).read):
        with pytest.raises(InputError) as refusal:
            read()
        assert f"{path} is damaged: " in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["machine", "presentation"])
def test_a_part_of_another_kind_is_damage(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps({"experiment": {}, name: [1]}))
    with pytest.raises(InputError, match=f"its {name} is not a JSON object"):
        WorkDir(tmp_path).read()


def test_only_the_sound_lines_of_a_log_count(tmp_path):
    sound = {"step": 2, "split": "train", "loss": 1.5, "seconds": 0}
    wrong = [b"\xff", b"[" * 100_000, b"7", b"null", b'{"step": "2", "split": "train"}', b'{"step": 3}',
             b'{"step": 3, "split": "train", "loss": "low"}', b'{"step": true, "split": "train"}']  # fmt: skip
    workdir = WorkDir(tmp_path)
    workdir.metrics.write_bytes(b"\n".join([*wrong, json.dumps(sound).encode(), b'{"st']))
    assert workdir.metrics_rows() == [sound]
    workdir.metrics.unlink()
    workdir.metrics.mkdir()
    assert workdir.metrics_rows() == []
    workdir.keep_metrics_until(2)
    assert workdir.metrics.read_text() == ""


@pytest.mark.parametrize(
    "override",
    ["model.event.levels=1099511627776", "batch_size=1000000000000", "model.depth=1000000",
     "evaluate.batch_size=1000000000000"],
)  # fmt: skip
def test_absurd_sizes_are_refused(override):
    with pytest.raises(InputError, match="cannot be built"):
        replace(make(), override)
    assert replace(make(), "model.depth=1000").model.depth == 1000
