"""A serving plane that was launched for a measurement: orders, kills, and what HAProxy says."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from launched import Launched
from network import MODEL, World
from processes import command_line

from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving import control_store, run_dir
from agentloop.serving.edge.haproxy_process import HaproxyProcess
from agentloop.serving.naming import app_name

HERE = Path(__file__).resolve().parent
POLL_S = 0.01
DROPPED = ("PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS")


class Served:
    """``plane.py`` with ``options``, for the length of a ``with``."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="als-", dir="/tmp"))
        self._options = options
        self._children: list[Launched] = []
        world = World()
        self.bodies = [encode(world.row), encode(world.other_row)]

    def __enter__(self) -> Served:
        try:
            self._plane = self._launch(*self._options)
            told = self._line(self._plane)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.url, self.home = told["url"], Path(told["home"])
        self.versions: list[str] = told["versions"]
        self.cluster = told["cluster"]
        self.infer = f"{self.url}/v2/models/{MODEL}/infer"
        self._haproxy = HaproxyProcess(run_dir(self.home))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children[::-1]:
            child.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- orders ----------------------------------------------------------------------------------

    def order(self, do: str, **details: Any) -> dict[str, Any]:
        """Have the plane do something and wait for the end of it. Raises RuntimeError."""
        self.send(do, **details)
        return self.result()

    def send(self, do: str, **details: Any) -> None:
        stdin = self._plane.stdin
        assert stdin is not None
        stdin.write(json.dumps({"do": do, **details}).encode() + b"\n")
        stdin.flush()

    def result(self) -> dict[str, Any]:
        """What the last order that was sent came to. Raises RuntimeError."""
        told = self._line(self._plane)
        if "error" in told:
            raise RuntimeError(told["error"])
        return told

    def controller(self, number: int, rollout: dict[str, Any]) -> Launched:
        """Another process, which rolls a version out on the same cluster."""
        options = ("--attach", self.cluster, "--deploy", str(number))
        return self._launch(*self._options, *options, "--rollout", json.dumps(rollout))

    def _launch(self, *options: str) -> Launched:
        environment = {k: v for k, v in os.environ.items() if k not in DROPPED}
        environment |= {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
        command = [sys.executable, str(HERE / "plane.py"), str(self.folder), *options]
        log = self.folder / f"log{len(self._children)}"
        child = Launched(command, environment, log, self.folder)
        self._children.append(child)
        return child

    def _line(self, child: Launched) -> dict[str, Any]:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line.strip():
            log = self.folder / f"log{self._children.index(child)}"
            raise RuntimeError(f"the plane died: {log.read_text(errors='replace')[-1500:]}")
        told: dict[str, Any] = json.loads(line)
        return told

    # --- kills -----------------------------------------------------------------------------------

    def pids(self, title: str) -> list[int]:
        """Processes of the plane whose command line begins with ``title``."""
        return [pid for pid in self._plane.pids if command_line(pid).startswith(title)]

    def replicas(self, number: int) -> list[int]:
        return self.pids(f"ray::ServeReplica:{self.app(number)}")

    @property
    def haproxy(self) -> int | None:
        return self._haproxy.pid

    def app(self, number: int) -> str:
        return app_name(MODEL, self.versions[number])

    # --- what is ---------------------------------------------------------------------------------

    @property
    def split(self) -> TrafficSplit:
        found = control_store(self.home).split(MODEL)
        assert found is not None
        return found

    def stats(self) -> dict[tuple[str, str], dict[str, str]]:
        """Rows of ``show stat`` by proxy and server; nothing while HAProxy is away."""
        try:
            text = self._haproxy.command("show stat")
        except OSError:
            return {}
        rows = csv.DictReader(io.StringIO(text))
        return {(row["# pxname"], row["svname"]): row for row in rows}

    def errors(self, number: int) -> int:
        """5xx answers of a version, rescued ones included."""
        row = self.stats().get((f"version.{self.app(number)}", "FRONTEND"), {})
        return int(row.get("hrsp_5xx") or 0)

    def weight(self, number: int) -> int:
        """What HAProxy gives a version, 0 to 256."""
        row = self.stats().get((f"model.{MODEL}", self.versions[number]), {})
        return int(row.get("weight") or 0)

    def is_up(self, number: int) -> bool:
        """Whether HAProxy's own check finds the version."""
        row = self.stats().get((f"version.{self.app(number)}", "app"), {})
        return row.get("status", "").startswith("UP")


def encode(row: list[float]) -> bytes:
    tensor = {"name": "features", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return json.dumps({"inputs": [tensor]}).encode()


def wait_for(condition: Callable[[], bool], seconds: float, poll_s: float = POLL_S) -> float | None:
    """Seconds until it holds; None if it does not in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(poll_s)
    return time.monotonic() - began


def kill(pids: list[int]) -> float:
    """SIGKILL them; when."""
    moment = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return moment
