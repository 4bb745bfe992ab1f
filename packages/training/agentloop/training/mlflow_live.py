"""Values in MLflow while a training goes on, sent by a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentloop.contracts.errors import TrackingFailed
from agentloop.training.live_journal import Journal, Told, tell
from agentloop.training.system_metrics import machine_figures

EVERY_S, SAMPLE_S = 1.0, 5.0
LONGEST_PAUSE_S = 15.0
MOST_VALUES = 1000  # that MLflow takes in one call

Send = Callable[[str, Sequence[Any]], None]


class LiveLog:
    """Sends what is told under ``root`` to the run, and the machine's figures.

    While the store is away values stay in the files and in ``unsent``; the thread tries again, ever
    less often. ``send(run_id, metrics)`` raises TrackingFailed.
    """

    def __init__(self, root: Path, run_id: str, send: Send) -> None:
        self.journal = Journal(root, run_id)
        self._run_id, self._send = run_id, send
        self._unsent: list[Told] = []
        self._stop, self._sending = threading.Event(), threading.Lock()
        self._samples, self._next_sample, self._pause = 0, 0.0, EVERY_S
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, wait_s: float) -> None:
        """Send what is left, waiting up to ``wait_s`` seconds for the store.

        Raises TrackingFailed where it stays away: the same training, run again, sends it all.
        """
        self._stop.set()
        self._thread.join(wait_s)
        self.deliver(wait_s)

    def deliver(self, wait_s: float) -> None:
        """Send all that was told, trying again for up to ``wait_s`` seconds. Raises TrackingFailed
        as ``close`` does."""
        deadline, pause = time.monotonic() + wait_s, 0.2
        while True:
            try:
                return self.flush()
            except TrackingFailed as error:
                if time.monotonic() + pause > deadline:
                    raise _resumable(error) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def flush(self) -> None:
        """Send all that was told so far. Raises TrackingFailed; nothing is lost."""
        from mlflow.entities import Metric

        with self._sending:
            self._unsent += self.journal.read()
            while self._unsent:
                part = self._unsent[:MOST_VALUES]
                rows = [Metric(told.name, told.value, told.at, told.step) for told in part]
                self._send(self._run_id, rows)
                del self._unsent[: len(part)]

    def _run(self) -> None:
        while not self._stop.is_set():
            self._sample()
            try:
                self.flush()
                self._pause = EVERY_S
            except TrackingFailed:
                self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
            self._stop.wait(self._pause)

    def _sample(self) -> None:
        now = time.monotonic()
        if now < self._next_sample:
            return
        self._next_sample = now + SAMPLE_S
        self._samples += 1
        root = self.journal.root
        root.mkdir(parents=True, exist_ok=True)
        tell(self.journal.system, machine_figures(root), self._samples)


def _resumable(error: TrackingFailed) -> TrackingFailed:
    return TrackingFailed(
        error.reason,
        kept="The search, the fitted models and their curves were kept; nothing was registered.",
        next_step="bring the tracking store back, then run the same command again: it goes on",
    )
