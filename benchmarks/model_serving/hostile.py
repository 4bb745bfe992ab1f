"""Hostile clients against a live edge, with a good client beside them.

``run`` is given the edge of a model that is served already; see ``under_attack``. What is counted:
answers that are 5xx, refusals that are not short typed JSON, what the server's processes grow by,
and how much longer the good client's slowest hundredth waits. The attackers are a process of their
own that gives way to all others (``attacks.py``): what they send costs the server what it costs,
and what it costs them to send it does not count.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from attacks import ATTACKS, Orders, Size
from door import Seen
from load import load
from targets import at_most

MAX_GROWTH_MB = 200
MOST_SLOWDOWN = 2.0
# How often the good client is measured beside an attack.
WINDOWS = 3
STOP_S = 10.0
HERE = Path(__file__).resolve().parent
FULL = Size(fuzz=10_000, bulk=50, slow=500, slow_seconds=15, chunked=1_000_000_000)
QUICK = Size(fuzz=1_000, bulk=15, slow=500, slow_seconds=6, chunked=1_000_000_000)
FULL_S, QUICK_S = 8, 3
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GoodClient:
    """One connection to ``url`` that sends ``body`` in turn, ``seconds`` at a time."""

    url: str
    body: bytes
    seconds: int

    def measure(self, seconds: int | None = None) -> tuple[float, int]:
        """The p99 in ms, and the failures."""
        with tempfile.TemporaryDirectory() as folder:
            found = load(self.url, self.body, 1, seconds or self.seconds, Path(folder))
        return found.p99_ms, found.errors


class Attackers:
    """The process of ``attacks.py``, for the length of a ``with``: attacking from its begin, again
    and again. ``seen`` is of the first whole pass, once ``done``. Raises RuntimeError."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self.seen = Seen()
        self.done = threading.Event()

    def __enter__(self) -> Attackers:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "attacks.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HERE,
            start_new_session=True,
        )
        self._tell(json.dumps(asdict(self._orders)))
        if self._line() != b"ready\n":
            self.__exit__(None, None, None)
            raise RuntimeError("the attackers did not start")
        self._tell("go")
        threading.Thread(target=self._await_pass, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(STOP_S)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _tell(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _await_pass(self) -> None:
        line = self._line()
        if line:
            self.seen = Seen.from_json(line)
            self.done.set()


def server_mb() -> float:
    """Resident memory of the processes that the benchmark started, but for clients."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name() != "wrk" and str(HERE / "attacks.py") not in process.cmdline():
                total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 1e6


@dataclass
class Beside:
    """The good client beside attackers: what they saw, its median p99 in ms, its failures, and the
    server's memory in MB at its highest."""

    seen: Seen
    p99_ms: float
    failures: int
    peak_mb: float


def beside(good: GoodClient, orders: Orders) -> Beside:
    p99s: list[float] = []
    failures, peak = 0, 0.0
    with Attackers(orders) as attackers:
        while len(p99s) < WINDOWS or not attackers.done.is_set():
            p99, failed = good.measure()
            p99s.append(p99)
            failures += failed
            peak = max(peak, server_mb())
            if not attackers.alive:
                raise RuntimeError(f"the attackers died: {orders.attack}")
    return Beside(attackers.seen, statistics.median(p99s), failures, peak)


def run(quick: bool, base_url: str, model: str, body: bytes) -> tuple[list[Row], list[Row]]:
    """Rows and targets; ``body`` is a sound V2 request to the model behind ``base_url``."""
    url = f"{base_url.rstrip('/')}/v2/models/{model}/infer"
    good = GoodClient(url, body, QUICK_S if quick else FULL_S)
    good.measure(1)
    # Also between attacks: the machine may be slower at one time than at another.
    rests = [good.measure()[0] for _ in range(WINDOWS)]
    before = server_mb()
    found: dict[str, Beside] = {}
    grown: dict[str, float] = {}
    for name in ATTACKS:
        orders = Orders(name, base_url, model, body.decode(), QUICK if quick else FULL)
        found[name] = beside(good, orders)
        rests.append(good.measure()[0])
        grown[name] = server_mb() - before
    at_rest = statistics.median(rests)
    rows = [_row(name, one, at_rest, grown[name]) for name, one in found.items()]
    return rows, _targets(list(found.values()), at_rest, before)


def _row(name: str, found: Beside, at_rest: float, grown: float) -> Row:
    statuses = sorted(found.seen.statuses.items())
    return {
        "attack": name,
        "requests": sum(found.seen.statuses.values()),
        "seconds": found.seen.seconds,
        "answers": " ".join(f"{_named(status)}:{count}" for status, count in statuses),
        "wrong": sum(found.seen.wrong.values()),
        "first_wrong": found.seen.example,
        "good_p99_ms": round(found.p99_ms, 2),
        "good_p99_at_rest_ms": round(at_rest, 2),
        "good_failed": found.failures,
        "grown_mb": round(grown, 1),
    }


def _targets(found: list[Beside], at_rest: float, before: float) -> list[Row]:
    wrong: Counter[str] = Counter()
    for one in found:
        wrong += one.seen.wrong
    growth = max(one.peak_mb for one in found) - before
    slowdown = max(one.p99_ms for one in found) / at_rest
    failures = sum(one.failures for one in found)
    return [
        at_most("hostile requests answered with 5xx", wrong["5xx"], 0, ""),
        at_most("refusals that are not typed JSON of 4 KB at most", _refusals(wrong), 0, ""),
        at_most("bytes that are no HTTP, refused with HAProxy's own page", wrong["no HTTP"], 0, ""),
        at_most("memory that hostile requests cost the server", growth, MAX_GROWTH_MB, "MB"),
        at_most("a good client's p99 beside them, to that at rest", slowdown, MOST_SLOWDOWN, "×"),
        at_most("a good client's failed requests beside them", failures, 0, ""),
    ]


def _refusals(wrong: Counter[str]) -> int:
    return wrong["long"] + wrong["untyped"]


def _named(status: int) -> str:
    return {0: "closed", -1: "held"}.get(status, str(status))
