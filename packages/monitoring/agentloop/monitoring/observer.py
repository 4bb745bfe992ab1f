"""The replica's side of monitoring: note a prediction in under a microsecond, send counts rarely.

``observe`` only queues what it is given. Folding into bins happens in bulk, and one background
thread sends the counts every ``flush_seconds``. A message stays with the replica until it is
acknowledged; meanwhile new predictions add to the next one, so memory stays bounded.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from agentloop.lifecycle.bundle import ModelBundle
from agentloop.monitoring.counts import FlushMessage, RequestTally
from agentloop.monitoring.folding import Columns, Folder

log = logging.getLogger(__name__)

FOLD_CALLS = 128
FOLD_ROWS = 4096

# merged, merged before, kept out because the bins differ, or not watched (yet): send it again.
FlushAnswer = Literal["merged", "duplicate", "other-bins", "unwatched"]
Transport = Callable[[FlushMessage], FlushAnswer]
Call = tuple[Columns, npt.NDArray[Any], float, int, str]


class Observer:
    """Counts the predictions of one replica. Thread-safe; never raises into the request's path.

    ``replica`` must be unique to the process, for messages are numbered from 1 in each.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        version: str,
        replica: str,
        transport: Transport,
        flush_seconds: float,
    ) -> None:
        self._model = bundle.signature.model
        self._version = version
        self._replica = replica
        self._transport = transport
        self._flush_seconds = flush_seconds
        self._folder = Folder(bundle.reference)
        self._edge_hash = bundle.reference.edge_hash
        self._queue: deque[Call] = deque()
        self._queued_rows = 0
        self._fold_lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._sequence = 0
        self._waiting: FlushMessage | None = None
        self._begin()

    def observe(
        self,
        columns: Columns,
        labels: npt.NDArray[Any],
        seconds: float,
        status: int,
        endpoint: str,
    ) -> None:
        """Note one answered request.

        ``columns``: raw feature columns (rows,) each; ``labels``: the answers (rows,), text or
        float for regression; both empty for a refused request. ``seconds``: time to answer. The
        arrays are kept until folded: they must not be changed afterwards.
        """
        self._queue.append((columns, labels, seconds, status, endpoint))
        self._queued_rows += len(labels)
        if len(self._queue) >= FOLD_CALLS or self._queued_rows >= FOLD_ROWS:
            self._fold(wait=False)

    def start(self) -> Observer:
        """Begin to flush in the background; ``close`` ends it."""
        self._thread = threading.Thread(target=self._run, name="agentloop-observer", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop the background thread and send what is left, once."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()

    def flush(self) -> bool:
        """Send what was counted. False where a message waits to be sent again."""
        with self._send_lock:
            self._fold(wait=True)
            if self._waiting is None:
                self._waiting = self._take()
            if self._waiting is None:
                return True
            if self._send(self._waiting):
                self._waiting = None
            return self._waiting is None

    def _run(self) -> None:
        while not self._stop.wait(self._flush_seconds):
            self.flush()

    def _send(self, message: FlushMessage) -> bool:
        try:
            answer = self._transport(message)
        except Exception as error:  # whatever the transport meets, the replica goes on serving
            log.debug("counts %d are kept for the next flush: %s", message.sequence, error)
            return False
        if answer == "other-bins":
            log.warning(
                "monitoring refused counts of %s %s: it watches other bins (%s here)",
                self._model,
                self._version,
                self._edge_hash,
            )
        return answer != "unwatched"

    def _begin(self) -> None:
        self._counts = self._folder.layout.empty()
        self._answered = 0
        self._tally = RequestTally()

    def _take(self) -> FlushMessage | None:
        with self._fold_lock:
            if not self._tally.requests:
                return None
            self._sequence += 1
            message = FlushMessage(
                model=self._model,
                version=self._version,
                replica=self._replica,
                sequence=self._sequence,
                edge_hash=self._edge_hash,
                counts=self._folder.layout.encode(self._counts),
                answered=self._answered,
                requests=tuple((e, s, n) for (e, s), n in self._tally.requests.items()),
                latencies=self._tally.latencies(),
            )
            self._begin()
            return message

    def _fold(self, wait: bool) -> None:
        if not self._fold_lock.acquire(blocking=wait):
            return  # another thread is at it, and will see this call too or at the next flush
        try:
            # popleft, not clear: what is queued meanwhile stays for the next fold
            calls = [self._queue.popleft() for _ in range(len(self._queue))]
            self._queued_rows = 0
            for _, _, seconds, status, endpoint in calls:
                self._tally.add(endpoint, status, seconds)
            live = [(c[0], c[1]) for c in calls if c[3] < 400 and len(c[1])]
            counts, rows = self._folder.fold(live)
            self._counts += counts
            self._answered += rows
        finally:
            self._fold_lock.release()


@dataclass(frozen=True, slots=True)
class ObserverFactory:
    """Makes a replica's observer; travels to the replica by pickle.

    ``actor`` and ``namespace`` name the monitoring actor, which need not exist yet.
    """

    actor: str = "agentloop-monitor"
    namespace: str = "agentloop"
    flush_seconds: float = 2.0

    def __call__(self, bundle: ModelBundle, version: str, replica_id: str) -> Observer:
        from agentloop.monitoring.ray_transport import RayTransport

        transport = RayTransport(self.actor, self.namespace)
        # A replica that Ray restarts may keep its id; its messages are numbered from 1 again.
        replica = f"{replica_id}:{uuid.uuid4().hex[:8]}"
        return Observer(bundle, version, replica, transport, self.flush_seconds).start()


def make_observer(bundle: ModelBundle, version: str, replica_id: str) -> Observer:
    """An observer with the default settings, flushing already."""
    return ObserverFactory()(bundle, version, replica_id)
