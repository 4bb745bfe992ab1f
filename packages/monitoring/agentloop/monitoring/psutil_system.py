"""This machine's load, by psutil."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def read_system(folder: Path) -> Mapping[str, float]:
    """Shares in [0, 1] of CPU, memory, and the disk that ``folder`` is on; free disk in bytes.

    CPU is the one-minute load by core, capped at 1: a momentary reading is mostly noise.
    """
    import psutil  # type: ignore[import-untyped,unused-ignore]

    place = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    disk = psutil.disk_usage(str(place))
    cores = psutil.cpu_count() or 1
    return {
        "cpu_used_share": min(1.0, psutil.getloadavg()[0] / cores),
        "memory_used_share": psutil.virtual_memory().percent / 100,
        "disk_used_share": disk.percent / 100,
        "disk_free_bytes": float(disk.free),
    }
