"""The machine of a run: device, processor, versions."""

import importlib.metadata
import shutil
import subprocess
from typing import Any

import jax
from stage import Setting

from gen_jax.runs.provenance import machine, revision

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
ASKED = "name,driver_version,memory.total,clocks.max.sm,power.limit"


def run(case: str, setting: Setting) -> dict[str, Any]:
    """The first row of every run; also the first use of the device."""
    del case
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        **machine(),
        "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
        "driver": driver(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        **revision(),
        "check": setting.check,
    }


def driver() -> str | None:
    """What nvidia-smi says about the device, or None if it does not exist."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
