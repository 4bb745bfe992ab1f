"""What Linux says of a process and all below it."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def descendants(pid: int) -> list[int]:
    """``pid`` and all processes below it, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children[int(fields[1])].append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children[one])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the processes and of the children that they have waited for."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid))) / TICKS


def memory_mb(pids: list[int]) -> float:
    """Proportional set size: a page that n of them share counts once.

    Of shared memory the larger of what is mapped and what is allocated counts: pages of Ray's
    object store that no process has touched since a worker ended are mapped nowhere.
    """
    private = shared = 0.0
    stores: dict[tuple[int, int], int] = {}
    for pid in pids:
        for line in _lines(PROC / str(pid) / "smaps_rollup"):
            if line.startswith(("Pss_Anon:", "Pss_File:")):
                private += float(line.split()[1]) / 1024
            elif line.startswith("Pss_Shmem:"):
                shared += float(line.split()[1]) / 1024
        stores |= _open_shared_memory(pid)
    return private + max(shared, sum(stores.values()) / (1 << 20))


def resident_mb(pids: list[int]) -> float:
    """Resident set size: a page that n of them share counts n times."""
    total = 0.0
    for pid in pids:
        for line in _lines(PROC / str(pid) / "status"):
            if line.startswith("VmRSS:"):
                total += float(line.split()[1]) / 1024
    return total


def command_line(pid: int) -> str:
    """Its arguments, or the title that it gave itself."""
    return " ".join(" ".join(_lines(PROC / str(pid) / "cmdline")).split("\0")).strip()


def available_mb() -> float:
    """Memory that the machine can still give."""
    for line in _lines(PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) / 1024
    return float("inf")


def _open_shared_memory(pid: int) -> dict[tuple[int, int], int]:
    """Allocated bytes of the files in /dev/shm that the process holds open, by device and inode."""
    sizes = {}
    try:
        with os.scandir(PROC / str(pid) / "fd") as entries:
            for entry in entries:
                if os.readlink(entry.path).startswith("/dev/shm/"):
                    status = entry.stat()
                    sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    except _GONE:
        pass
    return sizes


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; its name may hold blanks and brackets."""
    lines = _lines(PROC / str(pid) / "stat")
    return lines[0].rpartition(")")[2].split() if lines else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except _GONE:
        return []
