"""Run a worker and measure it: seconds, CPU of all of its processes, and memory of all of them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import available_mb, cpu_seconds, descendants, memory_mb

EVERY_S = 0.2
IDLE_S = 1.0
# Below this the machine would soon stop other processes in the worker's place.
RESERVE_MB = 1200.0
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Measured:
    """``error`` says why there are no figures; ``peak_mb`` is over the work, ``idle_mb`` of the
    same processes right before it."""

    seconds: float | None = None
    cpu_s: float | None = None
    peak_mb: float | None = None
    idle_mb: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""


class Sampler(threading.Thread):
    """Looks at a process and all below it, until stopped. Kills them if memory runs out."""

    def __init__(self, pid: int, limit_s: float) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._deadline = time.monotonic() + limit_s
        self._limit_s = limit_s
        self._stop_asked = threading.Event()
        self._lock = threading.Lock()
        self._seen: list[float] = []
        self.killed_for = ""

    def run(self) -> None:
        while not self._stop_asked.wait(EVERY_S):
            self.sample()
            if time.monotonic() > self._deadline:
                self._kill(f"took more than {self._limit_s:g} s")
            elif available_mb() < RESERVE_MB:
                self._kill(f"out of memory at {self._seen[-1]:,.0f} MB")

    def sample(self) -> None:
        used = memory_mb(descendants(self._pid))
        with self._lock:
            self._seen.append(used)

    def take(self) -> list[float]:
        """Samples since the last call, in MB; one at least."""
        self.sample()
        with self._lock:
            seen, self._seen = self._seen, []
        return seen

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()

    def _kill(self, reason: str) -> None:
        self.killed_for = self.killed_for or reason
        end_tree(self._pid)


def measure(
    command: list[str], environment: Mapping[str, str], log: Path, limit_s: float
) -> Measured:
    """Run ``command``, which serves a job (worker.py). Nothing of it is left running."""
    _adopt_orphans()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    sampler = Sampler(process.pid, limit_s)
    sampler.start()
    try:
        return _follow(process, sampler, log)
    finally:
        sampler.stop()
        end_tree(process.pid)
        process.wait()
        _reap_orphans()


def _follow(process: subprocess.Popen[str], sampler: Sampler, log: Path) -> Measured:
    begin = _next_mark(process)
    if begin.get("mark") != "begin":
        return _failed(begin, sampler, log)
    time.sleep(IDLE_S)
    idle = statistics.median(sampler.take())
    cpu = cpu_seconds(descendants(process.pid))
    _answer(process)
    end = _next_mark(process)
    spent = cpu_seconds(descendants(process.pid)) - cpu
    if end.get("mark") != "end":
        return _failed(end, sampler, log)
    measured = Measured(
        seconds=round(end["seconds"], 3),
        cpu_s=round(spent, 2),
        peak_mb=round(max(sampler.take()), 1),
        idle_mb=round(idle, 1),
        stages=end["stages"],
        result=end["result"],
    )
    _answer(process)
    return measured


def _next_mark(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    found: dict[str, Any] = json.loads(line) if line.strip() else {}
    return found


def _answer(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died; the next line that is read tells
        process.stdin.write("\n")
        process.stdin.flush()


def _failed(mark: dict[str, Any], sampler: Sampler, log: Path) -> Measured:
    if sampler.killed_for:
        return Measured(error=sampler.killed_for)
    if "error" in mark:
        return Measured(error=mark["error"])
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return Measured(error=f"died: {lines[-1][:200] if lines else 'no word'}")


def end_tree(pid: int) -> None:
    """End a process and all below it, by pid."""
    for one in descendants(pid):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _adopt_orphans() -> None:
    """A daemon whose parent ends becomes ours, and is not lost."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_orphans() -> None:
    """End and collect what a worker's processes left to us."""
    for pid in descendants(os.getpid())[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        while os.waitpid(-1, 0)[0]:
            pass
