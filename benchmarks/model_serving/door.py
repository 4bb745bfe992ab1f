"""What an attacker knows of a server: its address, and what it answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

MAX_ANSWER = 4096
# What HAProxy says to bytes that its parser takes for no HTTP: NUL in a header, headers past its
# buffer. It is compiled in, and no rule is asked before it.
PARSER_PAGE = b"<html><body><h1>400 Bad request</h1>"
ANSWER_SECONDS = 30.0


@dataclass
class Seen:
    """What came back: statuses (0 for a closed connection, -1 for one that was held as long as we
    would), what was wrong with answers, and how long a pass took."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    example: str = ""
    seconds: float = 0.0

    def note(self, status: int, body: bytes, what: str = "") -> None:
        self.statuses[status] += 1
        kind = _wrong(status, body)
        if kind is not None:
            self.wrong[kind] += 1
            self.example = self.example or f"{what}: {status} {body[:80]!r}"

    def to_json(self) -> str:
        return json.dumps([self.statuses, self.wrong, self.example, self.seconds])

    @classmethod
    def from_json(cls, text: str | bytes) -> Seen:
        statuses, wrong, example, seconds = json.loads(text)
        by_number = Counter({int(status): count for status, count in statuses.items()})
        return cls(by_number, Counter(wrong), example, seconds)


class Door:
    """The edge's address; every call opens what it needs."""

    def __init__(self, base_url: str, model: str, body: bytes) -> None:
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.model, self.body = model, body
        self.infer = f"/v2/models/{model}/infer"

    def request(self, body: bytes, path: str, headers: list[tuple[bytes, bytes]]) -> bytes:
        names = {name.lower() for name, _ in headers}
        lines = [b"POST %b HTTP/1.1" % path.encode(), b"host: hostile"]
        if b"content-type" not in names:
            lines.append(b"content-type: application/json")
        lines += [name + b": " + value for name, value in headers]
        lines.append(b"content-length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    async def ask(self, sent: bytes, seen: Seen, what: str = "") -> None:
        """One request on a connection of its own."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(sent)
            with suppress(OSError):  # an answer may be there although the rest was not taken
                await writer.drain()
            status, body = await asyncio.wait_for(read_answer(reader), ANSWER_SECONDS)
            seen.note(status, body, what)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            seen.note(0, b"")
        finally:
            writer.close()


class Pace:
    """Turns at a steady rate, whoever asks."""

    def __init__(self, rate: float) -> None:
        self._between = 1 / rate
        self._next = time.monotonic()

    async def turn(self) -> None:
        now = time.monotonic()
        self._next = max(self._next + self._between, now)
        await asyncio.sleep(self._next - now)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status, await reader.readexactly(length)


def _wrong(status: int, body: bytes) -> str | None:
    if status >= 500:
        return "5xx"
    if status < 400:
        return None
    if len(body) > MAX_ANSWER:
        return "long"
    if _is_typed(body):
        return None
    return "no HTTP" if body.startswith(PARSER_PAGE) else "untyped"


def _is_typed(body: bytes) -> bool:
    try:
        return set(json.loads(body)) == {"error"}
    except (ValueError, TypeError):
        return False
