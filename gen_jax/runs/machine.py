"""The machine that a run trains on: its numbers and times belong to it."""

import os
import platform
from pathlib import Path
from typing import Any

import jax


def machine() -> dict[str, Any]:
    """Kind and number of devices, name of the processor and number of threads that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    threads = len(affinity(0)) if affinity else os.cpu_count()
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "cpu": cpu_name(),
        "threads": threads,
    }


def cpu_name() -> str:
    """The processor's own name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
