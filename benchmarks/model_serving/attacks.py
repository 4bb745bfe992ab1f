"""Hostile clients, in a process of their own; ``hostile.py`` measures a good one beside them.

An attacker in life brings his own processors. Here he would take the server's, so this process
gives way to all others: ``SCHED_IDLE``, nice 19, and that for its session too, since the kernel
divides processors among sessions first. What it sends is made before it is ready, and goes out at
the rates below as long as the machine has time for it; ``Seen.seconds`` tells whether it had.

Its input begins with a line of JSON that holds ``Orders``. It answers ``ready``, begins at the next
line, tells what the first pass saw in a line of JSON, and attacks again until it is killed.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from door import ANSWER_SECONDS, Door, Pace, Seen, read_answer

from agentloop.serving.protocol.hostile_requests import (
    HOSTILE_BODIES,
    HOSTILE_HEADERS,
    fuzz_body,
    spoiled,
)

# A second: what one attacker sends. Faster, it would be load, which slows everybody down.
FUZZ_RATE, MUSEUM_RATE, BULK_RATE = 200, 10, 5
BULK_BYTES = 1_000_000
FUZZ_CLIENTS = 4
# Before an attack begins again.
PAUSE_SECONDS = 0.5
CHUNK = b"10000\r\n" + b"1" * 65536 + b"\r\n"
LEAST_NICE = 19


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it: requests, large ones, slow connections, seconds they are held, bytes in
    chunks."""

    fuzz: int
    bulk: int
    slow: int
    slow_seconds: int
    chunked: int


@dataclass(frozen=True, slots=True)
class Orders:
    """Attack ``model`` at ``url``, to which ``body`` is a sound V2 request."""

    attack: str
    url: str
    model: str
    body: str
    size: Size


# --- attacks: prepared first, then a pass as often as wanted --------------------------------------

Attack = Callable[[Seen], Awaitable[None]]


def fuzz(door: Door, size: Size) -> Attack:
    """Seeded bodies, from four clients at a time."""
    requests = [_fuzzed(door, seed) for seed in range(size.fuzz)]

    async def attack(seen: Seen) -> None:
        left, pace = enumerate(requests), Pace(FUZZ_RATE)

        async def client() -> None:
            for seed, request in left:
                await pace.turn()
                await door.ask(request, seen, f"seed {seed}")

        await asyncio.gather(*(client() for _ in range(FUZZ_CLIENTS)))

    return attack


def _fuzzed(door: Door, seed: int) -> bytes:
    rng = random.Random(seed)
    body, path, headers = fuzz_body(rng, door.model)
    if seed % 2:  # those above are wrong for most models from the start
        body, path, headers = spoiled(rng, door.body), door.infer, []
    path = path if path.startswith("/v2/") else f"/models/{door.model}{path}"
    return door.request(body, path, headers)


def museum(door: Door, size: Size) -> Attack:
    """Named hostile bodies, headers and bombs, one after another."""
    requests = list(_exhibits(door))

    async def attack(seen: Seen) -> None:
        pace = Pace(MUSEUM_RATE)
        for name, request in requests:
            await pace.turn()
            await door.ask(request, seen, name)

    return attack


def _exhibits(door: Door) -> Iterator[tuple[str, bytes]]:
    for name, make in HOSTILE_BODIES.items():
        for path in (door.infer, f"/models/{door.model}/invocations"):
            yield name, door.request(make(), path, [])
    for name, headers in HOSTILE_HEADERS.items():
        yield f"header: {name}", door.request(door.body, door.infer, headers)
    bomb = gzip.compress(b"0" * 100_000_000)
    for headers in ([], [(b"content-encoding", b"gzip")]):
        yield "bomb", door.request(bomb, door.infer, headers)


def bulk(door: Door, size: Size) -> Attack:
    """Sound bodies of thousands of rows, one after another."""
    body = json.loads(door.body)
    (tensor,) = body["inputs"]
    rows = BULK_BYTES // len(json.dumps(tensor["data"]))
    tensor.update(shape=[rows, len(tensor["data"])], data=tensor["data"] * rows)
    request = door.request(json.dumps(body).encode(), door.infer, [])

    async def attack(seen: Seen) -> None:
        pace = Pace(BULK_RATE)
        for _ in range(size.bulk):
            await pace.turn()
            await door.ask(request, seen, "bulk")

    return attack


def slow(door: Door, size: Size) -> Attack:
    """Connections that send a byte a second: of their headers, or of their body."""
    whole = door.request(door.body, door.infer, [])

    async def crawl(number: int, seen: Seen) -> None:
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
                seen.statuses[-1] += 1
                return
            seen.note(*answer.result())
        except (OSError, ValueError, asyncio.IncompleteReadError):
            seen.note(0, b"")
        finally:
            writer.close()

    async def attack(seen: Seen) -> None:
        await asyncio.gather(*(crawl(number, seen) for number in range(size.slow)))

    return attack


def chunked(door: Door, size: Size) -> Attack:
    """A gigabyte whose length nobody was told."""
    head = f"POST {door.infer} HTTP/1.1\r\nhost: hostile\r\ncontent-type: application/json\r\n"

    async def attack(seen: Seen) -> None:
        reader, writer = await asyncio.open_connection(door.host, door.port)
        writer.write(head.encode() + b"transfer-encoding: chunked\r\n\r\n")
        answer = asyncio.ensure_future(read_answer(reader))
        with suppress(OSError):
            for _ in range(0, size.chunked, 65536):
                writer.write(CHUNK)
                await writer.drain()
                await asyncio.sleep(0)
                if answer.done():
                    break
            else:
                writer.write(b"0\r\n\r\n")
        try:
            seen.note(*await asyncio.wait_for(answer, ANSWER_SECONDS))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            seen.note(0, b"")
        writer.close()

    return attack


ATTACKS: dict[str, Callable[[Door, Size], Attack]] = {
    "fuzzed bodies": fuzz,
    "hostile bodies, headers and bombs": museum,
    "bodies of 1 MB": bulk,
    "500 slow connections": slow,
    "1 GB in chunks": chunked,
}


# --- the process ----------------------------------------------------------------------------------


def give_way() -> None:
    """Take no processor that anybody else wants."""
    os.nice(LEAST_NICE)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):  # a kernel that does not group sessions
        Path("/proc/self/autogroup").write_text(str(LEAST_NICE), encoding="ascii")


async def attack_on(attack: Attack) -> None:
    seen = Seen()
    began = time.monotonic()
    await attack(seen)
    seen.seconds = round(time.monotonic() - began, 2)
    print(seen.to_json(), flush=True)
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        await attack(Seen())


def main() -> None:
    give_way()
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    orders = Orders(**{**told, "size": Size(**told["size"])})
    door = Door(orders.url, orders.model, orders.body.encode())
    attack = ATTACKS[orders.attack](door, orders.size)
    print("ready", flush=True)
    if sys.stdin.readline():
        asyncio.run(attack_on(attack))


if __name__ == "__main__":
    main()
