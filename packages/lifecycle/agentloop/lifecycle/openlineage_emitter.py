"""Keeps lineage in a file, and sends it to a server that speaks OpenLineage.

The file is the truth. What a server did not take stays behind the outbox's cursor, and is sent with
the next event, also by another process.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agentloop.lifecycle.lineage import LineageEmitter, LineageEvent
from agentloop.lifecycle.openlineage_outbox import Outbox, locked

LINEAGE_FILE = Path("lineage") / "events.jsonl"
_log = logging.getLogger("agentloop.lineage")


class MemoryLineage:
    """Keeps events in this process; for tests."""

    def __init__(self) -> None:
        self._events: list[Mapping[str, Any]] = []

    def emit(self, event: LineageEvent) -> None:
        from agentloop.lifecycle.openlineage_events import as_openlineage

        # Through text, as the other emitters have it: what is kept is tied to nothing.
        self._events.append(json.loads(json.dumps(as_openlineage(event))))

    def events(self) -> Iterator[Mapping[str, Any]]:
        yield from self._events

    def flush(self, timeout_s: float = 3.0) -> None:
        pass


class NoLineage:
    """Keeps nothing: OPENLINEAGE_DISABLED is set."""

    def emit(self, event: LineageEvent) -> None:
        pass

    def events(self) -> Iterator[Mapping[str, Any]]:
        yield from ()

    def flush(self, timeout_s: float = 3.0) -> None:
        pass


class FileLineage:
    """One event a line of ``path``; an ``outbox`` sends them on, in a thread of its own.

    A line that a kill cut short is skipped by the reader and closed by the next writer. ``warn``
    is told what could not be kept or sent, in one line.
    """

    def __init__(
        self,
        path: Path,
        outbox: Outbox | None = None,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        self._path = path
        self._outbox = outbox
        self._warn = warn
        self._told: set[str] = set()
        self._sender: threading.Thread | None = None
        self._unsent = self._sending = False
        self._lock = threading.Lock()

    def emit(self, event: LineageEvent) -> None:
        try:
            self._append(event)
        except Exception as error:  # a run goes on, whatever becomes of its lineage
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._tell(f"an event was not kept ({reason})")
            return
        if self._outbox is not None:
            self._send()

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Every whole line; OSError where the file is there and cannot be read."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for line in file:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict):
                    yield event

    def flush(self, timeout_s: float = 3.0) -> None:
        if self._sender is not None:
            self._sender.join(timeout_s)

    def _append(self, event: LineageEvent) -> None:
        from openlineage.client.transport.file import FileConfig, FileTransport

        from agentloop.lifecycle.openlineage_events import as_openlineage

        told: Any = as_openlineage(event)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._path.with_name("events.lock")):
            _close_torn_line(self._path)
            FileTransport(FileConfig(str(self._path), append=True)).emit(told)

    def _send(self) -> None:
        with self._lock:
            self._unsent = True
            if not self._sending:
                self._sending = True
                self._sender = threading.Thread(target=self._drain, daemon=True)
                self._sender.start()

    def _drain(self) -> None:
        assert self._outbox is not None
        while self._take():
            try:
                warning = self._outbox.drain(self._path)
            except Exception as error:
                warning = f"events were not sent ({type(error).__name__})"
            if warning:
                self._tell(warning)

    def _take(self) -> bool:
        """Whether there is something to send; if not, the next event starts a thread anew."""
        with self._lock:
            self._sending, self._unsent = self._unsent, False
            return self._sending

    def _tell(self, warning: str) -> None:
        """Once: a server that is down for a whole run is one line."""
        if warning not in self._told:
            self._told.add(warning)
            self._warn(f"lineage: {warning}")


def open_lineage(
    home: Path, environment: Mapping[str, str], warn: Callable[[str], None] = _log.warning
) -> LineageEmitter:
    """The lineage of the state folder ``home``.

    OPENLINEAGE_URL (with OPENLINEAGE_API_KEY and OPENLINEAGE_ENDPOINT, ``api/v1/lineage`` without
    it) also sends events there; OPENLINEAGE_DISABLED=true keeps none.
    """
    if environment.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return NoLineage()
    path = home / LINEAGE_FILE
    url = environment.get("OPENLINEAGE_URL", "").strip()
    if not url:
        return FileLineage(path, warn=warn)
    outbox = Outbox(
        url,
        path.with_name("outbox.json"),
        api_key=environment.get("OPENLINEAGE_API_KEY", ""),
        endpoint=environment.get("OPENLINEAGE_ENDPOINT", "") or "api/v1/lineage",
    )
    return FileLineage(path, outbox, warn)


def _close_torn_line(path: Path) -> None:
    """End a line that a kill cut short, so that the next one is whole."""
    with path.open("ab+") as file:
        if file.tell() == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
