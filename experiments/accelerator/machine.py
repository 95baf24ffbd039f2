"""Which device, which processor, which versions."""

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
    """The row that every run begins with; it is also the first use of the device."""
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
    """What the driver's own tool says of the device, where it is there."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
