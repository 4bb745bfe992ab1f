"""Talk to a staged replica over real HTTP, and measure how fast it answers."""

from __future__ import annotations

import http.client
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.bundle import Signature

TIMEOUT_SECONDS = 30.0
WARM_UP = 10
SEQUENTIAL = 200
SEQUENTIAL_SECONDS = 0.8
PARALLEL_SECONDS = 0.4
CONNECTIONS = 4
# The gate's own requests are kept out of the counts of live traffic.
HEADERS = {"content-type": "application/json", "x-agentloop-probe": "1"}


@dataclass(frozen=True, slots=True)
class Reply:
    """``status`` 0: no answer, ``body`` then says why. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class LoadSample:
    """``latencies_ms`` (n,) of one-row requests one after another; then how many were answered
    over several connections, in how many seconds."""

    latencies_ms: npt.NDArray[np.float64]
    parallel_requests: int
    parallel_seconds: float
    connections: int


class HttpReplica:
    """One kept-alive connection to the replica under ``url``."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._prefix = parts.path.rstrip("/")
        self._connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS
        )

    def get(self, path: str) -> Reply:
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> Reply:
        return self._ask("POST", path, body)

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> Reply:
        for attempt in (1, 2):
            try:
                self._connection.request(method, self._prefix + path, body, HEADERS)
                answer = self._connection.getresponse()
                headers = {name.lower(): value for name, value in answer.getheaders()}
                return Reply(answer.status, headers, answer.read())
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # A server may close an idle connection at any time: that alone is no failure.
                if attempt == 2:
                    return Reply(0, {}, repr(error).encode())
        raise AssertionError("unreachable")


def infer_body(signature: Signature, columns: Mapping[str, npt.NDArray[Any]], rows: slice) -> bytes:
    """An Open Inference Protocol V2 body, one tensor a column."""
    tensors = [
        {
            "name": c.name,
            "datatype": c.datatype,
            "shape": [len(values := plain_values(columns[c.name][rows]))],
            "data": values,
        }
        for c in signature.inputs
    ]
    return json.dumps({"inputs": tensors}).encode()


def plain_values(values: npt.NDArray[Any]) -> list[Any]:
    """JSON-ready values, NaN as null."""
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values.tolist()]


def measure_load(
    url: str, path: str, bodies: list[bytes], clock: Callable[[], float] = time.perf_counter
) -> LoadSample:
    """Post ``bodies`` in turn: first one after another, then over several connections.

    At most about 1.3 s. Requests that are not answered with 200 are left out.
    """
    latencies: list[float] = []
    replica, turns = HttpReplica(url), itertools.cycle(bodies)
    for _ in range(WARM_UP):
        replica.post(path, next(turns))
    end = clock() + SEQUENTIAL_SECONDS
    while len(latencies) < SEQUENTIAL and clock() < end:
        started = clock()
        if replica.post(path, next(turns)).status == 200:
            latencies.append((clock() - started) * 1000)
    replica.close()
    requests, seconds = _parallel(url, path, bodies, clock)
    return LoadSample(np.array(latencies), requests, seconds, CONNECTIONS)


def _parallel(
    url: str, path: str, bodies: list[bytes], clock: Callable[[], float]
) -> tuple[int, float]:
    answered = [0] * CONNECTIONS
    started = clock()
    end = started + PARALLEL_SECONDS

    def work(index: int) -> None:
        replica, turns = HttpReplica(url), itertools.cycle(bodies[index:] + bodies[:index])
        while clock() < end:
            answered[index] += replica.post(path, next(turns)).status == 200
        replica.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered), clock() - started
