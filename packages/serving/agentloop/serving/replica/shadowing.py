"""Send a version copies of requests that another has answered, and compare its answers.

The client has its answer before anything here begins. A copy that finds the queue full is dropped,
so a slow version costs memory for ``QUEUE`` requests and no more. A copy is marked as a probe: it
is nobody's prediction.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from agentloop.serving.judging.channel import EvidenceSender
from agentloop.serving.replica.prediction_bins import PredictionBins, Predictions

QUEUE = 64
CONNECTIONS = 2
TIMEOUT_SECONDS = 2.0
MOST_HEAD = 1 << 16
BUSY = 429
_SANE_APP = re.compile(r"[A-Za-z0-9._+-]{1,200}")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copy:
    """A request of this replica and what it predicted for its rows."""

    app: str
    path: str
    body: bytes
    labels: Predictions


class ShadowMirror:
    """Copies of one replica's requests; ``port`` is Serve's own on this node."""

    def __init__(self, model: str, port: int, sender: EvidenceSender, bins: PredictionBins) -> None:
        self._prefix = f"{model}--"
        self._paths = {"infer": f"/v2/models/{model}/infer", "invocations": "/invocations"}
        self._port = port
        self._sender = sender
        self._bins = bins
        self._queue: asyncio.Queue[Copy] = asyncio.Queue(QUEUE)
        self._workers: list[asyncio.Task[None]] = []

    def offer(self, app: bytes, endpoint: str, body: bytes, labels: Predictions) -> None:
        """Take a copy, or drop it where too many wait. Another model's app is ignored."""
        name = app.decode("latin-1")
        if not name.startswith(self._prefix) or not _SANE_APP.fullmatch(name):
            return
        if not self._workers:
            self._workers = [
                asyncio.get_running_loop().create_task(self._work()) for _ in range(CONNECTIONS)
            ]
        try:
            self._queue.put_nowait(Copy(name, self._paths[endpoint], body, labels))
        except asyncio.QueueFull:
            self._sender.shadowed(name.removeprefix(self._prefix), dropped=1)

    def close(self) -> None:
        for worker in self._workers:
            worker.cancel()
        self._workers = []

    async def _work(self) -> None:
        connection = _Connection(self._port)
        try:
            while True:
                await self._compare(connection, await self._queue.get())
        finally:
            connection.close()

    async def _compare(self, connection: _Connection, copy: Copy) -> None:
        version = copy.app.removeprefix(self._prefix)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, content = await connection.post(f"/{copy.app}{copy.path}", copy.body)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            connection.close()
            log.debug("a copy for %s was not answered: %s", version, error)
            self._sender.shadowed(version, failed=1)
            return
        if status == BUSY:
            self._sender.shadowed(version, dropped=1)
        elif status >= 500:
            self._sender.shadowed(version, failed=1)
        else:
            differing = self._bins.differing(copy.labels, predictions_of(status, content))
            self._sender.shadowed(version, compared=1, disagreed=differing)


def predictions_of(status: int, content: bytes) -> Sequence[Any]:
    """The labels or values of an answer of ``infer`` or ``invocations``; none where it refuses."""
    if status != 200:
        return ()
    try:
        answer = orjson.loads(content)
        if "predictions" in answer:
            return list(answer["predictions"])
        named = {output["name"]: output["data"] for output in answer["outputs"]}
        return list(named["label"] if "label" in named else named["value"])
    except (ValueError, KeyError, TypeError):
        return ()


class _Connection:
    """One kept-alive HTTP connection to Serve on this node."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Raises OSError, EOFError, ValueError."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=MOST_HEAD)
        reader, writer = self._streams
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"x-agentloop-probe: 1\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        status = int(answer.split(b" ", 2)[1])
        length = _LENGTH.search(answer)
        if length is None:  # nothing here sends such an answer but a proxy that failed
            self.close()
            return status, b""
        content = await reader.readexactly(int(length[1]))
        if b"\r\nconnection: close" in answer.lower():
            self.close()
        return status, content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
