"""From a replica to the edge's actor: counts that only grow, in datagrams that may be lost.

Each message holds all that the process has counted so far, so whatever is lost is made up for by
the next. Nothing waits: where the socket is full or nobody listens, the message is tried again a
little later. ``note`` is on the path of every request and only queues; counting is done in bulk.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from agentloop.contracts.traffic import ShadowCounts, VersionEvidence
from agentloop.serving.judging.counts import BUCKETS_AN_OCTAVE, EvidenceMessage, encode
from agentloop.serving.replica.prediction_bins import PredictionBins, Predictions

EVIDENCE_SOCKET = "evidence.sock"
FLUSH_SECONDS = 0.1
SHORTEST_SECONDS = 1e-6
RETRY_SECONDS = 1.0
# Of a request with many rows, the first are counted.
MOST_ROWS = 64
# More than that many requests are counted before the time to send has come.
QUEUED = 512
MOST_SHADOWS = 16

_Answer = tuple[float, int, Predictions, bool]


class EvidenceSender:
    """Counts what one process of a version answers. Not thread-safe: for one event loop."""

    def __init__(self, model: str, version: str, bins: PredictionBins, folder: Path) -> None:
        self._model = model
        self._version = version
        self._bins = bins
        self._path = str(folder / EVIDENCE_SOCKET)
        self._process = uuid.uuid4().hex
        self._sequence = 0
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue: list[_Answer] = []
        self._answers = 0
        self._failures = 0
        self._latency: defaultdict[int, int] = defaultdict(int)
        self._predictions: defaultdict[str, float] = defaultdict(float)
        self._shadows: dict[str, ShadowCounts] = {}

    def note(self, seconds: float, status: int, labels: Predictions, is_probe: bool) -> None:
        """Count one answered request; its predictions only where it is not a probe."""
        self._queue.append((seconds, status, labels, is_probe))
        if self._timer is None:
            self._flush_soon(FLUSH_SECONDS)
        elif len(self._queue) >= QUEUED:
            self._count()

    def shadowed(
        self,
        version: str,
        compared: int = 0,
        disagreed: float = 0.0,
        failed: int = 0,
        dropped: int = 0,
    ) -> None:
        """Count what became of a copy that ``version`` was sent."""
        if version not in self._shadows and len(self._shadows) >= MOST_SHADOWS:
            self._shadows.pop(next(iter(self._shadows)))
        known = self._shadows.get(version, ShadowCounts())
        self._shadows[version] = ShadowCounts(
            known.compared + compared,
            known.disagreed + disagreed,
            known.failed + failed,
            known.dropped + dropped,
        )
        if self._timer is None:
            self._flush_soon(FLUSH_SECONDS)

    def flush(self) -> bool:
        """Send all counts now. False where nobody took them; raises nothing."""
        self._count()
        self._sequence += 1
        counts = VersionEvidence(
            self._answers,
            self._failures,
            dict(self._latency),
            dict(self._predictions),
            dict(self._shadows),
        )
        message = EvidenceMessage(self._model, self._version, self._process, self._sequence, counts)
        if self._send(encode(message)):
            return True
        self._sequence -= 1
        return False

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _count(self) -> None:
        queue, self._queue = self._queue, []
        answered = [answer for answer in queue if answer[1] == 200]
        self._answers += len(answered)
        self._failures += sum(answer[1] >= 500 for answer in queue)
        if not answered:
            return
        ms = np.array([max(answer[0], SHORTEST_SECONDS) for answer in answered]) * 1000.0
        buckets = np.ceil(BUCKETS_AN_OCTAVE * np.log2(ms)).astype(int)
        for bucket, number in Counter(buckets.tolist()).items():
            self._latency[bucket] += number
        live = [answer[2] for answer in answered if not answer[3]]
        for label, times in Counter(labels[0] for labels in live if len(labels) == 1).items():
            self._add(label, times)
        for labels in live:
            if len(labels) > 1:
                counted = labels[:MOST_ROWS]
                for label in counted:
                    self._add(label, 1.0 / len(counted))

    def _add(self, label: Any, times: float) -> None:
        for name in self._bins.names(label):
            self._predictions[name] += times

    def _flush_soon(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self.flush():
            self._flush_soon(RETRY_SECONDS)

    def _send(self, data: bytes) -> bool:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(data, self._path)
        except OSError:  # nobody listens, or too many wait: these counts are in the next one too
            return False
        return True
