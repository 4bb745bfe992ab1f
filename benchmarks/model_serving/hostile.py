"""Hostile clients against a live edge, with a good client beside them.

``run`` is given the edge of a model that is served already; see ``under_attack``. What is counted:
answers that are 5xx, refusals that are not short typed JSON, what the server's processes grow by,
and how much longer the good client's slowest hundredth waits.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from load import load
from targets import at_most

from agentloop.serving.protocol.hostile_requests import (
    HOSTILE_BODIES,
    HOSTILE_HEADERS,
    fuzz_body,
    spoiled,
)

MAX_ANSWER = 4096
MAX_GROWTH_MB = 200
MOST_SLOWDOWN = 2.0
# What HAProxy says to bytes that its parser takes for no HTTP: NUL in a header, headers past its
# buffer. It is compiled in, and no rule is asked before it.
PARSER_PAGE = b"<html><body><h1>400 Bad request</h1>"
# A second: what one attacker sends. Faster, it would be load, which slows everybody down.
FUZZ_RATE, MUSEUM_RATE = 200, 10
GIGABYTE = 1_000_000_000
ANSWER_SECONDS = 30.0
# How often the good client is measured beside an attack, and the pause before one begins again.
WINDOWS = 3
PAUSE_SECONDS = 0.5
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it: requests, slow connections, seconds they are held, bytes in chunks."""

    fuzz: int
    slow: int
    slow_seconds: int
    chunked: int
    good_seconds: int


FULL = Size(10_000, 500, 15, GIGABYTE, 8)
QUICK = Size(1_000, 500, 6, GIGABYTE, 3)


@dataclass
class Seen:
    """What came back: statuses (0 for a closed connection), and what was wrong with answers."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def note(self, status: int, body: bytes, what: str = "") -> None:
        self.statuses[status] += 1
        kind = _wrong(status, body)
        if kind is not None:
            self.wrong[kind] += 1
            self.example = self.example or f"{what}: {status} {body[:80]!r}"


class Door:
    """The edge's address; every call opens what it needs."""

    def __init__(self, base_url: str, model: str, body: bytes) -> None:
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.url, self.model, self.body = base_url.rstrip("/"), model, body
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
            await self._swallow(writer)
            status, body = await asyncio.wait_for(read_answer(reader), ANSWER_SECONDS)
            seen.note(status, body, what)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            seen.note(0, b"")
        finally:
            writer.close()

    async def _swallow(self, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # an answer may be there although the rest was not taken
            await writer.drain()


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


# --- attacks -----------------------------------------------------------------------------------


async def fuzz(door: Door, size: Size, seen: Seen) -> None:
    """Seeded bodies, from four clients at a time."""
    seeds, pace = iter(range(size.fuzz)), Pace(FUZZ_RATE)

    async def client() -> None:
        for seed in seeds:
            await pace.turn()
            rng = random.Random(seed)
            body, path, headers = fuzz_body(rng, door.model)
            if seed % 2:  # those above are wrong for most models from the start
                body, path, headers = spoiled(rng, door.body), door.infer, []
            path = path if path.startswith("/v2/") else f"/models/{door.model}{path}"
            await door.ask(door.request(body, path, headers), seen, f"seed {seed}")

    await asyncio.gather(*(client() for _ in range(4)))


async def museum(door: Door, size: Size, seen: Seen) -> None:
    """Named hostile bodies, headers and bombs, one after another."""
    pace = Pace(MUSEUM_RATE)
    for name, make in HOSTILE_BODIES.items():
        for path in (door.infer, f"/models/{door.model}/invocations"):
            await pace.turn()
            await door.ask(door.request(make(), path, []), seen, name)
    for name, headers in HOSTILE_HEADERS.items():
        await pace.turn()
        await door.ask(door.request(door.body, door.infer, headers), seen, f"header: {name}")
    bomb = gzip.compress(b"0" * 100_000_000)
    for headers in ([], [(b"content-encoding", b"gzip")]):
        await door.ask(door.request(bomb, door.infer, headers), seen, "bomb")


async def slow(door: Door, size: Size, seen: Seen) -> None:
    """Connections that send a byte a second: of their headers, or of their body."""

    async def crawl(number: int) -> None:
        whole = door.request(door.body, door.infer, [])
        start = 20 if number % 2 else whole.index(b"\r\n\r\n") + 10
        await asyncio.sleep(number / size.slow)  # not all of them in one instant
        try:
            reader, writer = await asyncio.open_connection(door.host, door.port)
        except OSError:
            seen.note(0, b"")
            return
        try:
            writer.write(whole[:start])
            answer = asyncio.ensure_future(read_answer(reader))
            for second in range(size.slow_seconds):
                done, _ = await asyncio.wait({answer}, timeout=1)
                if done:
                    break
                writer.write(whole[start + second : start + second + 1])
            if not answer.done():
                answer.cancel()
                seen.statuses[-1] += 1  # still held when we had enough
                return
            seen.note(*answer.result())
        except (OSError, ValueError, asyncio.IncompleteReadError):
            seen.note(0, b"")
        finally:
            writer.close()

    await asyncio.gather(*(crawl(number) for number in range(size.slow)))


async def chunked(door: Door, size: Size, seen: Seen) -> None:
    """A gigabyte whose length nobody was told."""
    reader, writer = await asyncio.open_connection(door.host, door.port)
    head = f"POST {door.infer} HTTP/1.1\r\nhost: hostile\r\ncontent-type: application/json\r\n"
    writer.write(head.encode() + b"transfer-encoding: chunked\r\n\r\n")
    answer = asyncio.ensure_future(read_answer(reader))
    piece = b"10000\r\n" + b"1" * 65536 + b"\r\n"
    sent = 0
    try:
        while sent < size.chunked and not answer.done():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
            sent += 65536
        if sent >= size.chunked:
            writer.write(b"0\r\n\r\n")
    except OSError:
        pass
    try:
        seen.note(*await asyncio.wait_for(answer, ANSWER_SECONDS))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        seen.note(0, b"")
    writer.close()


Attack = Callable[[Door, Size, Seen], Awaitable[None]]
ATTACKS: dict[str, Attack] = {
    "fuzzed bodies": fuzz,
    "hostile bodies, headers and bombs": museum,
    "500 slow connections": slow,
    "1 GB in chunks": chunked,
}


# --- what it does to the server ----------------------------------------------------------------


def server_mb() -> float:
    """Resident memory of the processes that the benchmark started."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name() != "wrk":
                total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 1e6


def good_client(door: Door, seconds: int) -> tuple[float, int]:
    """The p99 in ms, and the failures, of one connection that sends sound bodies in turn."""
    with tempfile.TemporaryDirectory() as folder:
        found = load(door.url + door.infer, door.body, 1, seconds, Path(folder))
    return found.p99_ms, found.errors


async def beside(door: Door, attack: Attack, size: Size, seen: Seen) -> tuple[float, int]:
    """The good client while the attack goes on, again and again: its median p99, its failures."""
    whole = asyncio.Event()

    async def attack_on() -> None:
        await attack(door, size, seen)
        whole.set()
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            await attack(door, size, Seen())

    attacker = asyncio.ensure_future(attack_on())
    p99s: list[float] = []
    failures = 0
    while not attacker.done() and (len(p99s) < WINDOWS or not whole.is_set()):
        p99, failed = await asyncio.to_thread(good_client, door, size.good_seconds)
        p99s.append(p99)
        failures += failed
    attacker.cancel()
    with suppress(asyncio.CancelledError):
        await attacker
    return statistics.median(p99s), failures


def run(quick: bool, base_url: str, model: str, body: bytes) -> tuple[list[Row], list[Row]]:
    """Rows and targets; ``body`` is a sound V2 request to the model behind ``base_url``."""
    size = QUICK if quick else FULL
    door = Door(base_url, model, body)
    rows: list[Row] = []
    wrong: Counter[str] = Counter()
    good_client(door, 1)
    at_rest = statistics.median(good_client(door, size.good_seconds)[0] for _ in range(WINDOWS))
    before = peak = server_mb()
    worst = failures = 0.0
    for name, attack in ATTACKS.items():
        seen = Seen()
        p99, failed = asyncio.run(beside(door, attack, size, seen))
        peak = max(peak, server_mb())
        worst, failures = max(worst, p99), failures + failed
        wrong += seen.wrong
        rows.append(
            {
                "attack": name,
                "requests": sum(seen.statuses.values()),
                "answers": " ".join(f"{_named(s)}:{n}" for s, n in sorted(seen.statuses.items())),
                "wrong": sum(seen.wrong.values()),
                "first_wrong": seen.example,
                "good_p99_ms": round(p99, 2),
                "good_p99_at_rest_ms": round(at_rest, 2),
                "good_failed": failed,
                "grown_mb": round(server_mb() - before, 1),
            }
        )
    return rows, [
        at_most("hostile requests answered with 5xx", wrong["5xx"], 0, ""),
        at_most("refusals that are not typed JSON of 4 KB at most", _refusals(wrong), 0, ""),
        at_most("bytes that are no HTTP, refused with HAProxy's own page", wrong["no HTTP"], 0, ""),
        at_most("memory that hostile requests cost the server", peak - before, MAX_GROWTH_MB, "MB"),
        at_most(
            "a good client's p99 beside them, to that at rest", worst / at_rest, MOST_SLOWDOWN, "×"
        ),
        at_most("a good client's failed requests beside them", failures, 0, ""),
    ]


def _refusals(wrong: Counter[str]) -> int:
    return wrong["long"] + wrong["untyped"]


def _named(status: int) -> str:
    return {0: "closed", -1: "held"}.get(status, str(status))
