"""Plain HTTP through the edge for smoke tests and probes: kept-alive connections, few threads."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from urllib.parse import urlsplit

from agentloop.serving.ports import HttpAnswer, Replay

HEADERS = {"content-type": "application/json", "x-agentloop-probe": "1"}
TIMEOUT_SECONDS = 5.0
CONNECTIONS = 4


def call(base_url: str, path: str, body: bytes | None = None) -> HttpAnswer:
    """One request; status 0 when no answer came."""
    connection, base = _connect(base_url)
    try:
        connection.request("GET" if body is None else "POST", base + path, body, HEADERS)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return HttpAnswer(response.status, headers, response.read())
    except (OSError, http.client.HTTPException) as error:
        return HttpAnswer(0, {}, str(error).encode())
    finally:
        connection.close()


def replay(base_url: str, path: str, bodies: Sequence[bytes], count: int) -> Replay:
    """POST ``count`` of ``bodies`` in turn over a few connections."""
    work = list(islice(cycle(bodies), count))
    shares = [work[start::CONNECTIONS] for start in range(min(CONNECTIONS, count))]
    with ThreadPoolExecutor(max(len(shares), 1)) as pool:
        failed = sum(pool.map(lambda share: _send(base_url, path, share), shares))
    return Replay(count, failed)


def _send(base_url: str, path: str, bodies: Sequence[bytes]) -> int:
    connection, base = _connect(base_url)
    failed = 0
    for body in bodies:
        try:
            connection.request("POST", base + path, body, HEADERS)
            response = connection.getresponse()
            response.read()
            failed += response.status >= 500
        except (OSError, http.client.HTTPException):
            failed += 1
            connection.close()
    connection.close()
    return failed


def _connect(base_url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is not open yet, and the path that goes before every path."""
    parts = urlsplit(base_url)
    host = parts.hostname or "127.0.0.1"
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_SECONDS), parts.path
