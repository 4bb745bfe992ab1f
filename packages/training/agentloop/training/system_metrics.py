"""The machine's figures, under the names that MLflow's own pages know."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psutil


def machine_figures(folder: Path) -> dict[str, float]:
    """Of the machine, of this process (``process_``), and of the disk that ``folder`` is on."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(folder))
    process = psutil.Process(os.getpid())
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / 1e6,
        "system_memory_usage_percentage": memory.percent,
        "process_memory_megabytes": process.memory_info().rss / 1e6,
        "disk_usage_percentage": disk.percent,
        "disk_available_megabytes": disk.free / 1e6,
        **_gpus(),
    }


def _gpus() -> dict[str, float]:
    """Nothing where there is no NVIDIA GPU, or no driver to ask."""
    asker = shutil.which("nvidia-smi")
    if asker is None:
        return {}
    query = "--query-gpu=utilization.gpu,memory.used"
    command = [asker, query, "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
        rows = [[float(value) for value in line.split(",")] for line in told.splitlines()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    found: dict[str, float] = {}
    for number, (busy, mebibytes) in enumerate(rows):
        found[f"gpu_{number}_utilization_percentage"] = busy
        found[f"gpu_{number}_memory_usage_megabytes"] = mebibytes * 1.048576
    return found
