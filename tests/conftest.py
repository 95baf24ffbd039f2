"""Eight simulated CPU devices and short compilations for every test process, and float64 where a test asks for it."""

import atexit
import gc
import os
import resource
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    # One part a program: to split small ones takes longer than to compile them.
    + " --xla_cpu_parallel_codegen_split_count=1"
    # Half the compile time; later versions refuse the flag.
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10.")
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Commands, in whatever process, share what they compile; it begins empty and goes with the session.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import pytest

SLOW = Path(__file__).with_name("slow.txt")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items):
    """Mark what slow.txt names."""
    named = set(SLOW.read_text().splitlines())
    for item in items:
        if f"{item.path.name}::{item.name}" in named:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """What is imported stays: the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """Digits, prepared once for a test process."""
    from gen_jax.data import prepared

    root = tmp_path_factory.mktemp("data")
    prepared.prepare("digits", root)
    return root


@pytest.fixture
def full_disk():
    """Limit files to 200 bytes: a longer write fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def shared() -> Path:
    """The original data next to the checkout; tests that need it are skipped if it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder ../shared/data with the original data sets")
    return folder
