"""The machine's figures, under the names that MLflow's own pages know."""

from __future__ import annotations

import os
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
    """Nothing where there is no NVIDIA GPU, or no package to ask it."""
    try:
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        found: dict[str, float] = {}
        for n, handle in enumerate(handles):
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found[f"gpu_{n}_memory_usage_megabytes"] = memory.used / 1e6
            found[f"gpu_{n}_utilization_percentage"] = float(
                pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
            )
    except Exception:  # whatever the driver raises
        return {}
    return found
