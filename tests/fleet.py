"""Several processes on this machine that make one run, each with some simulated devices."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax

from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.run import state_shapes
from gen_jax.runs.workdir import WorkDir

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ("-m", "gen_jax")
# A small network under SGD, which shows a factor in a gradient, with dropout, whose noise is that of one process.
CONFIG = """
from gen_jax import GatedPixelCNN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Optax


def experiment():
    return Experiment(
        model=GatedPixelCNN(
            image(8, 8, levels=17), depth=1, first_kernel=3, features=4, head_features=4, dropout=0.3
        ),
        data=Data("digits"),
        optimizer=Optax("sgd", {}, 0.1),
        steps=20,
        batch_size=16,
        ema=0.9,
        evaluate=Evaluate(every=10, batch_size=64, examples=64),
    )
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed."""

    status: int
    out: str
    err: str


def environment(devices: int) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return {
        **os.environ,
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(count, devices, *words, program=COMMAND, each=None):
    """Start `count` processes of `devices` devices; `each` has more words for each of them."""
    where, started = f"127.0.0.1:{free_port()}", []
    for number in range(count):
        more = [] if each is None else each[number]
        place = ["--coordinator", where, "--processes", str(count), "--process", str(number)]
        command = [sys.executable, *program, *map(str, words), *more, *(place if count > 1 else [])]
        started.append(
            subprocess.Popen(
                command,
                env=environment(devices),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    return started


def ended(started, seconds=300):
    """How each process ended; all are killed after some time."""
    try:
        texts = [process.communicate(timeout=seconds) for process in started]
    finally:
        for process in started:
            process.kill()
    return [Ended(p.returncode, *text) for p, text in zip(started, texts, strict=True)]


def run(count, devices, *words, **options):
    """What the first process printed on standard output; all must end with status 0."""
    done = ended(start(count, devices, *words, **options))
    assert [process.status for process in done] == [0] * count, "\n".join(p.err for p in done)
    assert not any(process.out for process in done[1:])
    return done[0].out


def state(workdir):
    """The newest checkpoint, wherever its arrays were, on one device here."""
    experiment = WorkDir(workdir).experiment()
    shapes = state_shapes(experiment, experiment.transformation())
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)
    _, restored, _ = Checkpoints(workdir / "checkpoints").restore_newest(like, print)
    return restored
