"""Clients that count exactly what happened to each request: a loop of their own in a thread.

wrk counts faster, but not by version, not by session, and not what was under way when a server
died. These send a request a connection at a time and never repeat one.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

CONNECTIONS = 16
PAUSE_S = 0.01
ANSWER_S = 15.0


@dataclass
class Seen:
    """``failed`` were sent and got no answer, ``refused`` found nobody to send to; ``bad`` got one
    other than 200. Times are of ``time.monotonic``."""

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    failed: int = 0
    refused: int = 0
    milliseconds: list[float] = field(default_factory=list)
    good_at: list[float] = field(default_factory=list)
    trouble_at: list[float] = field(default_factory=list)
    first_of: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    @property
    def bad(self) -> int:
        return sum(count for (status, _), count in self.answers.items() if status != 200)

    @property
    def trouble(self) -> str:
        """What went wrong, by kind; nothing if nothing did."""
        kinds = Counter({f"status {s}": n for (s, _), n in self.answers.items() if s != 200})
        kinds |= {"no answer": self.failed, "refused": self.refused}
        return ", ".join(f"{count} × {kind}" for kind, count in kinds.items() if count)

    def share(self, version: str) -> int:
        """Good answers of one version."""
        return self.answers[200, version]

    def p99_ms(self) -> float:
        return statistics.quantiles(self.milliseconds, n=100)[98] if self.total > 1 else 0.0

    def gap_after(self, moment: float) -> float:
        """Seconds from ``moment`` to the first good answer after the last trouble; 0 without."""
        trouble = [at for at in self.trouble_at if at >= moment]
        if not trouble:
            return 0.0
        later = [at for at in self.good_at if at > trouble[-1]]
        return later[0] - moment if later else float("inf")


class _Connection(asyncio.Protocol):
    """One request at a time; resolves with (status, version), or None if the connection ends."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[tuple[int, str] | None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, str] | None]:
        assert self._transport is not None
        self._buffer = b""
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        names = head.lower()
        if len(body) >= int(_field(names, b"content-length") or 0):
            if _field(names, b"connection") == b"close":
                self.close()
            self._end((int(head[9:12]), _field(names, b"x-model-version").decode()))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._end(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _end(self, answer: tuple[int, str] | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)


def _field(head: bytes, name: bytes) -> bytes:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


class Clients:
    """Requests to ``url`` from ``connections`` clients at once, for as long as the ``with`` lasts.

    ``bodies`` are drawn. ``rate`` is requests a second of all clients together; None is as fast as
    answers come. ``sessions`` go in turn, each once, and then it ends by itself.
    """

    def __init__(
        self,
        url: str,
        bodies: Sequence[bytes],
        connections: int = CONNECTIONS,
        rate: float | None = None,
        sessions: Sequence[str] = (),
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = [_request(parts.netloc, parts.path, body) for body in bodies]
        # Not in turn: an edge that deals in turn would give a version always the same body.
        self._random = Random(5)
        self._connections, self._rate = connections, rate
        self._sessions = iter(sessions) if sessions else None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self.seen = Seen()

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def until(self, total: int) -> None:
        """Wait for so many answers; at most ten minutes."""
        deadline = time.monotonic() + 600
        while self.seen.total < total and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(PAUSE_S)

    def finish(self) -> None:
        """Wait for the last session."""
        self._thread.join()

    def forget(self) -> None:
        """Note anew when a version is first seen."""
        self.seen.first_of.clear()

    async def _all(self) -> None:
        self._began, self._due = time.monotonic(), 0
        await asyncio.gather(*(self._client() for _ in range(self._connections)))

    async def _client(self) -> None:
        connection = _Connection()
        while not self._stopping.is_set():
            session = next(self._sessions, None) if self._sessions is not None else ""
            if session is None:
                break
            await self._turn()
            if not connection.open and not await self._connect(connection):
                continue
            await self._one(connection, session)
        connection.close()

    async def _turn(self) -> None:
        """Wait for the moment of the next request."""
        if self._rate is not None:
            self._due += 1
            wait = self._began + self._due / self._rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)

    async def _connect(self, connection: _Connection) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: connection, self._host, self._port)
        except OSError:
            self.seen.refused += 1
            self.seen.trouble_at.append(time.monotonic())
            await asyncio.sleep(PAUSE_S)
            return False
        return True

    async def _one(self, connection: _Connection, session: str) -> None:
        request = self._random.choice(self._requests)
        if session:
            request = request.replace(
                b"\r\n\r\n", b"\r\nx-session-id: " + session.encode() + b"\r\n\r\n", 1
            )
        began, seen = time.monotonic(), self.seen
        try:
            answer = await asyncio.wait_for(connection.ask(request), ANSWER_S)
        except TimeoutError:
            answer = None
            connection.close()
        now = time.monotonic()
        if answer is None:
            seen.failed += 1
            seen.trouble_at.append(now)
            return
        seen.answers[answer] += 1
        seen.milliseconds.append((now - began) * 1000)
        seen.first_of.setdefault(answer[1], now)
        (seen.good_at if answer[0] == 200 else seen.trouble_at).append(now)
        if session:
            seen.versions[session] = answer[1]


def _request(host: str, path: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
