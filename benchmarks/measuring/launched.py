"""A server that was launched: all that it started, what it costs, and its end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from processes import cpu_seconds, descendants, memory_mb, resident_mb

PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.02
STOP_S = 15.0
IDLE_OVER_S, IDLE_SHARE = 0.5, 0.25


class Launched:
    """A process and, daemons included, all that descends from it.

    One at a time: whatever else descends from this process belongs to it.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path
    ) -> None:
        # What a launch orphans becomes ours, and is not lost.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.began = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                # A server that reads its input would otherwise read the terminal's.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        self.stdin, self.stdout = self._process.stdin, self._process.stdout

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def pids(self) -> list[int]:
        return [pid for pid in descendants(os.getpid()) if pid != os.getpid()]

    @property
    def own_pids(self) -> list[int]:
        """Of the launched process and what descends from it still."""
        return descendants(self._process.pid)

    def settle(self, limit_s: float) -> None:
        """Wait until it is idle, as it should be while nobody asks: under IDLE_SHARE of a
        processor."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(IDLE_OVER_S)
            if self.cpu_seconds() - before < IDLE_SHARE * IDLE_OVER_S:
                return

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pids)

    def memory(self) -> tuple[float, float]:
        """MB resident, shared pages once a process, and MB proportional."""
        pids = self.pids
        return resident_mb(pids), memory_mb(pids)

    def stop(self) -> None:
        """Ask it to end; what is left after a while is ended by pid."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        for pid in reversed(self.pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        with suppress(ChildProcessError):
            while self.pids:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(POLL_S)
