"""The loop's own log, one JSON object a line; KPIs are computed from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from agentloop.contracts import LoopEvent, to_dict


class EventLog:
    """Appends whole lines; a line cut short by a kill is skipped when read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(
        self, kind: str, model: str, now: datetime, version: str = "", **detail: Any
    ) -> LoopEvent:
        event = LoopEvent(now.isoformat(timespec="milliseconds"), kind, model, version, detail)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(to_dict(event)) + "\n")
        return event

    def read(self) -> Iterator[LoopEvent]:
        """Every event, oldest first."""
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield LoopEvent(**json.loads(line))
            except (ValueError, TypeError):
                continue
