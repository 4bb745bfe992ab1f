"""The edge's end of the evidence channel: a datagram socket, read by one thread.

The socket lies in the run folder, which is this user's alone. There is one edge, and one such
socket, on a serving node: replicas on a node without an edge have nobody to tell, and what they
answer is judged by the edge's own counts only.
"""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import replace
from pathlib import Path

from agentloop.contracts.traffic import VersionEvidence, VersionTraffic
from agentloop.serving.judging.channel import EVIDENCE_SOCKET
from agentloop.serving.judging.counts import decode
from agentloop.serving.judging.table import EvidenceTable

MOST_BYTES = 1 << 17
_END = b""

log = logging.getLogger(__name__)


class EvidenceReceiver:
    """Receives from ``start`` to ``stop``; takes the place of a receiver that died."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVIDENCE_SOCKET
        self._table = EvidenceTable()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises OSError where the folder is not there."""
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)
        args = (self._socket,)
        self._thread = threading.Thread(target=self._run, args=args, name="evidence", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        receiving, thread = self._socket, self._thread
        if receiving is None or thread is None:
            return
        self._socket = self._thread = None
        receiving.shutdown(socket.SHUT_RDWR)
        thread.join()
        receiving.close()
        self._path.unlink(missing_ok=True)

    def evidence(self, model: str) -> dict[str, VersionEvidence]:
        """By version."""
        with self._lock:
            return self._table.of(model)

    def beside(self, model: str, traffic: list[VersionTraffic]) -> list[VersionTraffic]:
        """``traffic`` of the edge with what the replicas counted."""
        found = self.evidence(model)
        return [
            replace(item, evidence=found.get(item.version, VersionEvidence())) for item in traffic
        ]

    def _run(self, receiving: socket.socket) -> None:
        while True:
            try:
                data = receiving.recv(MOST_BYTES)
            except OSError:
                return
            if data == _END:
                if self._socket is not receiving:
                    return
                continue
            try:
                message = decode(data)
            except ValueError as error:
                log.warning("a message of counts was dropped: %s", error)
                continue
            with self._lock:
                self._table.take(message)
