"""Sends the lines of a lineage file to a server, each once it is taken, from where it stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentloop.lifecycle.openlineage_events import without_secrets

TIMEOUT_S = 3.0
# A server that is down costs a run little: the pause after a failure is this many times as long as
# the failure took, so that a refused connection is tried again at once and a silent server is not.
PAUSE_FACTOR = 10.0
# These say that the server would not take this event at any time; waiting would hold up the rest.
_REFUSED = frozenset({400, 413, 422})


class Outbox:
    """Remembers in ``cursor`` how far (bytes) each server has been told. ``url`` may hold a
    password; it is neither kept nor shown."""

    def __init__(
        self,
        url: str,
        cursor: Path,
        api_key: str = "",
        endpoint: str = "api/v1/lineage",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._url = url
        self._cursor = cursor
        self._api_key = api_key
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._place = hashlib.sha256(url.encode()).hexdigest()[:16]
        self._not_before = 0.0

    def drain(self, path: Path) -> str | None:
        """Send every whole line of ``path`` that this server has not had; returns one line to warn
        with, if some were not taken."""
        if time.monotonic() < self._not_before:
            return None
        began = time.monotonic()
        with locked(self._cursor.with_suffix(".lock")):
            refused, failure = self._send_all(path)
        if failure:
            now = time.monotonic()
            self._not_before = now + PAUSE_FACTOR * (now - began)
            return f"{self._shown} did not answer ({failure}); its events are kept and sent later"
        return (
            f"{self._shown} refused {refused} event(s), which stay in the file" if refused else None
        )

    @property
    def _shown(self) -> str:
        return without_secrets(self._url)

    def _send_all(self, path: Path) -> tuple[int, str]:
        """How many events were refused for good, and why sending stopped ("" at the end)."""
        transport = self._transport()
        refused = 0
        try:
            for offset, event in _lines(path, self._read()):
                if event is not None:
                    status, failure = self._post(transport, event)
                    if failure and status not in _REFUSED:
                        return refused, failure
                    refused += status in _REFUSED
                self._write(offset)
        finally:
            transport.close()
        return refused, ""

    def _post(self, transport: Any, event: dict[str, Any]) -> tuple[int, str]:
        try:
            transport.emit(event)
        except Exception as error:  # whatever the client's own library for HTTP raises
            status = int(getattr(getattr(error, "response", None), "status_code", 0))
            return status, f"HTTP {status}" if status else type(error).__name__
        return 200, ""

    def _transport(self) -> Any:
        from openlineage.client.transport.http import (
            ApiKeyTokenProvider,
            HttpConfig,
            HttpTransport,
            TokenProvider,
        )

        key = {"api_key": self._api_key}
        return HttpTransport(
            HttpConfig(
                url=self._url,
                endpoint=self._endpoint,
                timeout=self._timeout_s,
                auth=ApiKeyTokenProvider(key) if self._api_key else TokenProvider({}),
                retry={"total": 0},
            )
        )

    def _read(self) -> int:
        return int(self._cursors().get(self._place, 0))

    def _cursors(self) -> dict[str, int]:
        try:
            value = json.loads(self._cursor.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _write(self, offset: int) -> None:
        partial = self._cursor.with_suffix(".partial")
        partial.write_text(json.dumps({**self._cursors(), self._place: offset}), encoding="utf-8")
        os.replace(partial, self._cursor)


def _lines(path: Path, start: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The offset behind each whole line from ``start``, and its event (None where it is none)."""
    with path.open("rb") as file:
        if start > file.seek(0, os.SEEK_END):
            start = 0  # the file was begun anew
        file.seek(start)
        offset = start
        while (line := file.readline()).endswith(b"\n"):
            offset += len(line)
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            yield offset, event if isinstance(event, dict) else None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process, and one thread, at a time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
