"""Requests a second, latency, CPU, memory and cold start of everybody, in interleaved rounds."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contestants import (
    BARE,
    CONTESTANTS,
    OURS,
    OURS_SPLIT,
    SERVE_DEFAULT,
    SERVE_FAST,
    Contestant,
    Place,
    is_right,
)
from environments import NotInstalled, python_of
from launched import POLL_S, Launched
from load import LoadFailed, load
from network import World, write_network
from targets import Target, at_least, at_most

START_S = 60.0
# At most so long until what a start leaves to do is done: Ray's spare workers, mostly.
SETTLE_S = 8.0
QUIET = {
    "OMP_NUM_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "UVICORN_ACCESS_LOG": "false",
    "LIT_DISABLE_VERSION_CHECK": "1",
}
DROPPED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "RAY_ADDRESS")


@dataclass(frozen=True, slots=True)
class Settings:
    """``peers`` keeps the environments; ``one_s`` and ``many_s`` load 1 and 16 connections."""

    peers: Path
    rounds: int = 3
    warm_s: int = 3
    one_s: int = 3
    many_s: int = 6
    quick: bool = False
    names: Sequence[str] = ()


class Failed(Exception):
    """A contestant that gave no figures; the argument says why."""


@dataclass
class Race:
    """All runs of all contestants."""

    settings: Settings
    runs: dict[str, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    errors: dict[str, str] = field(default_factory=dict)

    def go(self, contestants: Sequence[Contestant]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="als-", dir="/tmp"))
        world = World()
        network = folder / "network.onnx"
        write_network(network, world.folded())
        try:
            for number in range(self.settings.rounds):
                turn = number % len(contestants)
                # Another one begins each round.
                for contestant in (*contestants[turn:], *contestants[:turn]):
                    if number == 0 or not contestant.minor:
                        self._once(contestant, world, network, folder / "work")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _once(self, who: Contestant, world: World, network: Path, work: Path) -> None:
        if who.name in self.errors:
            return
        work.mkdir()
        try:
            found = self._measure(who, world, network, work)
            self.runs[who.name].append(found)
            told = f"{found['rps_16']:8,.0f} requests/s {found['cpu_us']:8,.0f} us of CPU"
        except (Failed, NotInstalled, LoadFailed) as error:
            told = self.errors[who.name] = f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(work, ignore_errors=True)
        print(f"{who.name:40} {told}", file=sys.stderr, flush=True)

    def _measure(
        self, who: Contestant, world: World, network: Path, work: Path
    ) -> dict[str, float]:
        python = python_of(who.environment, self.settings.peers)
        place = Place(python, work, free_port())
        environment = {k: v for k, v in os.environ.items() if k not in DROPPED}
        path = f"{place.program}:{environment.get('PATH', '')}"
        environment |= {**QUIET, "PATH": path, "NETWORK": str(network), **who.variables}
        prepared = who.prepare(place)
        if prepared:
            done = subprocess.run(prepared, env=environment, capture_output=True, check=False)
            if done.returncode:
                raise Failed(last_line(done.stderr))
        body = json.dumps(who.body(world.row)).encode()
        log = work / "log"
        server = Launched(who.command(place), environment, log, work)
        try:
            cold = await_answer(who, place.port, body, world.expected(world.row), server, log)
            return {"cold_s": cold, **self._load(server, place.port, who.path, body, work)}
        finally:
            server.stop()

    def _load(
        self, server: Launched, port: int, path: str, body: bytes, work: Path
    ) -> dict[str, float]:
        url, settings = f"http://127.0.0.1:{port}{path}", self.settings
        server.settle(SETTLE_S)
        load(url, body, 16, settings.warm_s, work)
        one = load(url, body, 1, settings.one_s, work)
        cpu = server.cpu_seconds()
        many = load(url, body, 16, settings.many_s, work)
        spent = server.cpu_seconds() - cpu
        rss, pss = server.memory()
        return {
            "rps_1": one.rate,
            "p50_1": one.p50_ms,
            "p99_1": one.p99_ms,
            "rps_16": many.rate,
            "p50_16": many.p50_ms,
            "p99_16": many.p99_ms,
            "cpu_us": spent / max(many.requests, 1) * 1e6,
            "rss": rss,
            "pss": pss,
            "errors": one.errors + many.errors,
        }


def await_answer(
    who: Contestant, port: int, body: bytes, expected: Any, server: Launched, log: Path
) -> float:
    """Seconds from the launch to the first right answer. Raises Failed."""
    deadline, last = server.began + START_S, "no answer"
    while time.monotonic() < deadline:
        if server.exit_code is not None:
            raise Failed(f"it ended with {server.exit_code}: {last_line(log.read_bytes())}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("POST", who.path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if answer.status == 200 and is_right(who, content, expected):
                return time.monotonic() - server.began
            last = f"{answer.status} {content[:160]!r}"
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(POLL_S)
    raise Failed(f"no right answer in {START_S:g} s; the last was {last}")


def last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines else "no word"


def free_port() -> int:
    """One with two free ones behind it, which some servers take too."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for number in (port + 1, port + 2):
                    with socket.socket() as other:
                        other.bind(("127.0.0.1", number))
            except (OSError, OverflowError):
                continue
        return port


def rows_of(race: Race, contestants: Sequence[Contestant]) -> list[dict[str, Any]]:
    """Medians over the rounds, the fastest first."""
    rows = [row_of(who.name, race) for who in contestants]
    return sorted(rows, key=lambda row: -(row["requests_per_s_16"] or 0))


def row_of(name: str, race: Race) -> dict[str, Any]:
    runs = race.runs.get(name, [])

    def middle(key: str, digits: int) -> float | int | None:
        if not runs:
            return None
        value = statistics.median(run[key] for run in runs)
        return round(value, digits) if digits else round(value)

    return {
        "server": name,
        "requests_per_s_16": middle("rps_16", 0),
        "p50_ms_16": middle("p50_16", 2),
        "p99_ms_16": middle("p99_16", 2),
        "requests_per_s_1": middle("rps_1", 0),
        "p50_ms_1": middle("p50_1", 2),
        "p99_ms_1": middle("p99_1", 2),
        "cpu_us_a_request": middle("cpu_us", 0),
        "rss_mb": middle("rss", 0),
        "pss_mb": middle("pss", 0),
        "cold_start_s": middle("cold_s", 2),
        "rounds": len(runs),
        "errors": sum(int(run["errors"]) for run in runs) if runs else None,
        "note": race.errors.get(name, ""),
    }


def targets_of(rows: list[dict[str, Any]]) -> list[Target]:
    """What was promised of ours, as far as the rows tell."""
    found = {row["server"]: row for row in rows if row["requests_per_s_16"]}
    wanted: list[Target] = []
    if OURS not in found or OURS_SPLIT not in found:
        return wanted
    one, split = found[OURS], found[OURS_SPLIT]
    if SERVE_DEFAULT in found:
        ratio = one["requests_per_s_16"] / found[SERVE_DEFAULT]["requests_per_s_16"]
        wanted.append(
            at_least("requests/s / Ray Serve's defaults, 16 connections", ratio, 10, "times")
        )
    if SERVE_FAST in found:
        ratio = split["requests_per_s_16"] / found[SERVE_FAST]["requests_per_s_16"]
        name = "requests/s split 90/10 / plain Serve with HAProxy, 16 connections"
        wanted.append(at_least(name, ratio, 0.8, "times"))
    wanted += ahead(one, [r for n, r in found.items() if n not in (OURS, OURS_SPLIT, BARE)])
    wanted.append(at_most("errors of ours under load", one["errors"] + split["errors"], 0, ""))
    return wanted


def ahead(ours: dict[str, Any], others: list[dict[str, Any]]) -> Iterator[Target]:
    """Ours beside the best of the others, with and without plain Serve: that is what we run on,
    less the edge, and has a target of its own."""
    apart = [row for row in others if row["server"] != SERVE_FAST]
    for title, rows in (("all but bare", others), ("all but bare and plain Serve", apart)):
        if not rows:
            continue
        best = max(rows, key=lambda row: row["requests_per_s_16"])
        ratio = ours["requests_per_s_16"] / best["requests_per_s_16"]
        name = f"requests/s / best of {title} ({best['server']}), 16 connections"
        yield at_least(name, ratio, 1, "times")
        best = min(rows, key=lambda row: row["p99_ms_16"])
        ratio = ours["p99_ms_16"] / best["p99_ms_16"]
        name = f"p99 / best of {title} ({best['server']}), 16 connections"
        yield at_most(name, ratio, 1, "times")


def run(settings: Settings) -> tuple[list[dict[str, Any]], list[Target], dict[str, Any]]:
    """Rows, targets and the raw figures."""
    chosen = [
        who
        for who in CONTESTANTS
        if (any(n in who.name for n in settings.names) if settings.names else True)
        and (who.quick or settings.names or not settings.quick)
    ]
    race = Race(settings)
    race.go(chosen)
    rows = rows_of(race, chosen)
    return rows, targets_of(rows), dict(race.runs)
