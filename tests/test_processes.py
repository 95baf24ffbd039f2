"""Several processes as one run: the numbers of one process, one verdict, one printer, one stop, one death."""

import json
import math
import os
import signal
import time
import zlib

import chex
import fleet
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gen_jax import InputError, processes, runtime, sharding
from gen_jax.processes import Joining, Place, check_alone, join, local_devices, place
from gen_jax.runs.sums import crcs, sums
from gen_jax.runs.workdir import WorkDir

STEP = {"SLURM_STEP_NODELIST": "a[1-2]", "SLURM_PROCID": "3"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}


@pytest.mark.parametrize(
    ("environ", "there"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        ({"SLURM_NTASKS": "4", **STEP}, Place("Slurm", 4, 3)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, Place("Open MPI", 2, 1)),
        # mpirun in a Slurm job: its daemons are Slurm's tasks, the processes are its own.
        ({"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_RANK": "5", "SLURM_NTASKS": "2", **STEP},
         Place("Open MPI", 8, 5)),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, Place("Cloud TPU")),
        ({"TPU_WORKER_HOSTNAMES": "a"}, None),
        (POD, Place("Kubernetes", None, 1)),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
    ],
)  # fmt: skip
def test_the_place_by_the_scheduler(environ, there):
    assert place(environ) == there


def test_tasks_of_slurm_outside_srun_are_refused(monkeypatch):
    """Of every command, with the way out; `--alone` takes it."""
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.delenv("SLURM_STEP_NODELIST", raising=False)
    for start in (lambda: join(Joining()), check_alone):
        with pytest.raises(InputError, match="has 2 tasks, but srun did not start this process"):
            start()
    join(Joining(alone=True))
    assert not processes.several()


def test_other_commands_run_in_one_process(monkeypatch):
    """The set-up of a command without the flags refuses, before it looks for devices."""
    for name, value in {"SLURM_NTASKS": "2", **STEP}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runtime, "_check_flags", lambda flags: None)
    with pytest.raises(InputError, match="runs in one process, and Slurm started several"):
        runtime.set_up()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (Joining("here:1", 2, 0, alone=True), "--alone joins nobody"),
        (Joining(processes=2, process=0), "need --coordinator"),
        (Joining("here:1", 2, 2), "--process 2 is not below --processes 2"),
        (Joining("here", 2, 0), "--coordinator here is not HOST:PORT"),
        (Joining("here:1", 2), "needs --processes N and --process I"),
    ],
)
def test_flags_that_do_not_fit(asked, sentence):
    with pytest.raises(InputError, match=sentence):
        join(asked)


def test_pods_need_the_package_that_finds_them(monkeypatch):
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'gen_jax\[k8s\]'"):
        join(Joining())


def test_a_task_with_one_gpu_takes_it_whatever_its_number():
    assert local_devices({"CUDA_VISIBLE_DEVICES": "3"}) == [0]
    assert local_devices({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}) is None
    assert local_devices({}) is None


def test_sums_are_those_of_the_definition_and_change_with_every_bit():
    """By whole numbers of any size, in another order; one flipped bit changes both sums."""
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)

    def mixed(i):
        i = (i ^ (i >> 16)) * 0x85EBCA6B % 2**32
        i = (i ^ (i >> 13)) * 0xC2B2AE35 % 2**32
        return i ^ (i >> 16)

    def total(words, shift):
        return sum(w * (2 * mixed((i + shift) % 2**32) + 1) for i, w in enumerate(words)) % 2**32

    words = [int(word) for word in x.view(np.uint32).ravel()]
    [before] = sums({"x": x}).values()
    assert before == [total(words, 0), total(words, 2**31)]
    for element in range(x.size):
        for bit in range(32):
            flipped = x.copy()
            flipped.view(np.uint32).reshape(-1)[element] ^= np.uint32(1) << np.uint32(bit)
            [after] = sums({"x": flipped}).values()
            assert after[0] != before[0]
            assert after[1] != before[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool", "float64"])
def test_sums_do_not_depend_on_the_devices(dtype, monkeypatch, x64):
    """Of the host, of one device, and of eight that hold rows or columns of it."""
    x = np.asarray(jnp.asarray(100 * np.random.default_rng(1).normal(size=(16, 24)), dtype))
    mesh = jax.make_mesh((4, 2), sharding.AXES, axis_types=(AxisType.Auto,) * 2)
    monkeypatch.setattr("gen_jax.runs.sums.ON_HOST", 0)
    placed = [
        jax.device_put(x, NamedSharding(mesh, spec)) for spec in (sharding.ROWS, P(None, "data"))
    ]
    for other in (jnp.asarray(x), *placed):
        chex.assert_trees_all_equal(sums({"x": other}), sums({"x": x}))
    assert crcs({"x": placed[0]}) == {"['x']": zlib.crc32(x.tobytes())}


TOLD = """
import json, os, sys
import jax, numpy as np
from jax.sharding import PartitionSpec as P
from gen_jax import processes, sharding
from gen_jax.errors import InputError
from gen_jax.runs.sums import sums
where, total, number = sys.argv[2::2]
processes.LISTENING = 0  # so that the end of Python finds the listener at work
processes.join(processes.Joining(where, int(total), int(number)))
number, mesh = int(number), sharding.device_mesh(jax.device_count())
x = np.arange(12, dtype=np.float32).reshape(4, 3)
split = sharding.put(x, mesh, sharding.ROWS)
assert not split.is_fully_addressable
told = {"whole": sharding.whole(split).tolist(), "sums": sums({"x": split}), "here": sums({"x": x})}
told["first"], told["of_first"] = processes.first(), processes.of_first({"number": number})
told["any"] = [processes.of_any(number == 1), processes.of_any(False)]
processes.by_first(lambda: open("once", "x").close())
told["seen"] = processes.first_then_others(lambda: os.path.exists("once"))
def fails(kind, who, inner=False):
    try:
        with processes.agreed():
            if number == who:
                raise kind("a sentence\\nand more")
            if inner:
                processes.of_first(0)
    except Exception as error:
        return [type(error).__name__, str(error).splitlines()[0], processes.common(error)]
told["fails"] = [fails(InputError, 1), fails(InputError, 0, True), fails(OSError, 1, True), fails(KeyError, 1)]
print(json.dumps(told))
"""


def test_two_processes_tell_each_other(tmp_path, monkeypatch):
    """What is said, in which order, and that an error of one, at whatever place, is one of both."""
    monkeypatch.chdir(tmp_path)
    done = fleet.ended(fleet.start(2, 2, program=("-c", TOLD)))
    assert [process.status for process in done] == [0, 0], done
    first, second = (json.loads(process.out) for process in done)
    assert (first.pop("first"), second.pop("first")) == (True, False)
    errors = [told.pop("fails") for told in (first, second)]
    assert first == second
    assert first["whole"] == np.arange(12.0).reshape(4, 3).tolist()
    assert first["sums"] == first["here"]
    assert first["of_first"] == {"number": 0}
    assert first["any"] == [True, False]
    assert first["seen"]
    said = ["InputError", "a sentence", True]
    assert errors[0][:3] == [said] * 3
    assert errors[0][3] == ["RuntimeError", "process 1: 'a sentence\\nand more'", True]
    assert errors[1][:3] == [said, said, ["OSError", "a sentence", True]]
    assert errors[1][3] == ["KeyError", "'a sentence\\nand more'", True]


def train(place, config, workdir, data_dir, *more, **options):
    words = ["train", config, "--workdir", workdir, "--data-dir", data_dir, *more]
    return fleet.run(*place, *words, **options)


def rows(workdir, split):
    """The logged rows without times."""
    logged = WorkDir(workdir).metrics_rows()
    return [
        {k: v for k, v in row.items() if k != "seconds"} for row in logged if row["split"] == split
    ]


def assert_close(workdir, other, relative=1e-6):
    for split in ("train", "validation"):
        one, two = rows(workdir, split), rows(other, split)
        assert len(one) == len(two) > 0
        for a, b in zip(one, two, strict=True):
            assert a.keys() == b.keys()
            for name in a.keys() - {"split"}:
                assert math.isclose(a[name], b[name], rel_tol=relative), (name, a, b)


PLACES = {"1 x 1": (1, 1), "1 x 8": (1, 8), "2 x 4": (2, 4)}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.py"
    path.write_text(fleet.CONFIG)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, config, data_dir):
    """The same 20 steps in each place."""
    root = tmp_path_factory.mktemp("places")
    for name, there in PLACES.items():
        train(there, config, root / name, data_dir)
    return root


@pytest.mark.slow
def test_training_has_the_numbers_of_one_process(trained):
    assert rows(trained / "1 x 1", "train")[0]["loss"] > rows(trained / "1 x 1", "train")[1]["loss"]
    assert_close(trained / "1 x 8", trained / "1 x 1")
    assert_close(trained / "2 x 4", trained / "1 x 1")
    states = [fleet.state(trained / name) for name in PLACES]
    for state in states[1:]:
        chex.assert_trees_all_close(state, states[0], rtol=1e-5, atol=1e-6)
    assert len((trained / "2 x 4" / "metrics.jsonl").read_text().splitlines()) == 4
    assert len([*(trained / "2 x 4" / "tensorboard").iterdir()]) == 1


@pytest.mark.slow
def test_evaluation_and_samples_do_not_depend_on_the_place(trained, data_dir, tmp_path):
    """Samples are equal; numbers are equal to the last digit on as many devices, and to rounding on one."""
    numbers, drawn = [], []
    for name, there in PLACES.items():
        words = ("evaluate", trained / "1 x 1", "--data-dir", data_dir, "--limit", 50, "--json")
        numbers.append(json.loads(fleet.run(*there, *words))["nats"])
        out = tmp_path / f"{name}.npz"
        fleet.run(*there, "sample", trained / "1 x 1", "--num", 6, "--out", out)
        drawn.append(np.load(out)["samples"])
    assert numbers[1] == numbers[2]
    assert math.isclose(numbers[0], numbers[1], rel_tol=1e-7)
    chex.assert_trees_all_equal(*drawn)
    assert len(np.unique(drawn[0])) > 4


SPLIT = "import sys, gen_jax.sharding as s, gen_jax.cli as c; s.LEAST = 64; sys.exit(c.main())"


@pytest.mark.slow
def test_a_run_goes_on_in_other_places(trained, config, data_dir, tmp_path):
    """Ten steps in 2 x 2, their state split over all four; five in 1 x 1, five in 1 x 8, split over two."""
    program = {"program": ("-c", SPLIT)}
    for steps, there, fsdp in ((10, (2, 2), 4), (15, (1, 1), 1), (20, (1, 8), 2)):
        more = ("--set", f"steps={steps}", "--set", "evaluate.every=5", "--fsdp", fsdp)
        train(there, config, tmp_path / "run", data_dir, *more, **program)
    whole = {row["step"]: row for row in rows(trained / "1 x 1", "validation")}
    parts = {row["step"]: row for row in rows(tmp_path / "run", "validation")}
    for step in (10, 20):
        assert math.isclose(parts[step]["nats"], whole[step]["nats"], rel_tol=1e-6)
    state, other = (fleet.state(run) for run in (tmp_path / "run", trained / "1 x 1"))
    chex.assert_trees_all_close(state.params, other.params, rtol=1e-5, atol=1e-6)
    words = ("evaluate", tmp_path / "run", "--data-dir", data_dir, "--limit", 50, "--json")
    numbers = [
        json.loads(fleet.run(*there, *words, "--fsdp", fsdp, **program))["nats"]
        for there, fsdp in (((1, 1), 1), ((2, 2), 4))
    ]
    assert math.isclose(*numbers, rel_tol=1e-6)


@pytest.mark.slow
def test_verdicts_before_the_first_step_are_common(trained, config, data_dir, tmp_path):
    """Wrong for both, wrong for one only, a folder of another config, a folder in use: one sentence, status 2."""
    cases = {
        "has no field 'nothing'": {"each": [["--set", "model.nothing=1"]] * 2},
        "is not prepared in": {"each": [["--data-dir", str(data_dir)], ["--data-dir", str(tmp_path)]]},
        "holds another config": {"each": [["--workdir", str(trained / "1 x 1"), "--set", "batch_size=8"]] * 2},
    }  # fmt: skip
    for sentence, options in cases.items():
        words = ("train", config, "--workdir", tmp_path / "run", "--data-dir", data_dir)
        done = fleet.ended(fleet.start(2, 1, *words, **options))
        assert [process.status for process in done] == [2, 2], (sentence, done)
        said = [line for p in done for line in p.err.splitlines() if line.startswith("gen-jax: ")]
        assert len(said) == 1
        assert sentence in said[0]
    assert not (tmp_path / "run").exists()


LONG = ("--set", "steps=4000", "--set", "evaluate.every=4000")


def at_work(started, workdir, step):
    """Wait until a run has logged a step."""
    while max((row["step"] for row in WorkDir(workdir).metrics_rows()), default=0) < step:
        assert all(process.poll() is None for process in started), fleet.ended(started)
        time.sleep(0.05)


@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_a_death_too(config, data_dir, tmp_path):
    """SIGTERM to the second: both save the same step and leave with 143. Then kill -9: the other aborts in time."""
    short = (
        "import sys, gen_jax.processes as p, gen_jax.cli as c; p.HEARTBEAT = 10; sys.exit(c.main())"
    )
    workdir, words = tmp_path / "run", ("train", config, "--data-dir", data_dir, *LONG)
    started = fleet.start(2, 1, *words, "--workdir", workdir, program=("-c", short))
    at_work(started, workdir, 20)
    started[1].send_signal(signal.SIGTERM)
    done = fleet.ended(started)
    assert [process.status for process in done] == [143, 143]
    [stopped] = [int(path.name) for path in (workdir / "checkpoints").iterdir()]
    assert stopped % 10 == 0
    assert f"SIGTERM: saved step {stopped} of 4000" in done[0].err

    started = fleet.start(2, 1, *words, "--workdir", workdir, program=("-c", short))
    at_work(started, workdir, stopped + 10)
    busy = fleet.ended(fleet.start(1, 1, *words, "--workdir", workdir))
    assert busy[0].status == 2
    assert "another process is training" in busy[0].err
    os.kill(started[1].pid, signal.SIGKILL)
    killed = time.monotonic()
    first, _ = fleet.ended(started)
    assert first.status == -signal.SIGABRT, first.err
    assert time.monotonic() - killed < 40
