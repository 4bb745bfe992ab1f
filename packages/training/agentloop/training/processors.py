"""How many processors this process may use."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """Those that the process is let run on (``taskset``, a container's cpuset), at least 1; all of
    the machine's where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
