"""Live progress: a stage table on a terminal, plain lines elsewhere. Both go to stderr."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from agentloop.loop.progress import STAGES

MARKS = {
    "waiting": Text("·", style="dim"),
    "done": Text("✓", style="green"),
    "kept": Text("✓", style="cyan"),
    "failed": Text("✗", style="red"),
}


@dataclass
class _Row:
    state: str = "waiting"
    began: float = 0.0
    seconds: float | None = None
    summary: str = ""
    spinner: Spinner = field(default_factory=lambda: Spinner("dots", style="yellow"))


class TableProgress:
    """A live table of the stages; use it as a context manager."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._rows = {stage: _Row() for stage in STAGES}
        self._note = ""
        self._lock = threading.Lock()
        self._live = Live(
            console=Console(file=stream), get_renderable=self._render, refresh_per_second=8
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._note = ""
        self._live.__exit__(kind, error, trace)

    def started(self, stage: str) -> None:
        self._set(stage, state="running", began=time.monotonic())

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        self._set(stage, state="done", seconds=seconds, summary=summary)

    def kept(self, stage: str, summary: str) -> None:
        self._set(stage, state="kept", summary=f"{summary} (kept from the interrupted run)")

    def failed(self, stage: str) -> None:
        self._set(stage, state="failed")

    def note(self, message: str) -> None:
        self._note = message

    def _set(self, stage: str, **values: Any) -> None:
        with self._lock:
            for name, value in values.items():
                setattr(self._rows[stage], name, value)

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 1), title=self._title, title_justify="left")
        table.add_column(width=1)
        table.add_column("stage", min_width=9)
        table.add_column("time", justify="right", min_width=7)
        table.add_column("")
        with self._lock:
            for stage, row in self._rows.items():
                running = row.state == "running"
                mark = row.spinner if running else MARKS[row.state]
                seconds = time.monotonic() - row.began if running else row.seconds
                shown = f"{seconds:.1f} s" if seconds is not None else ""
                table.add_row(mark, stage, shown, row.summary)
        return Group(table, Text(self._note, style="dim"))


class LineProgress:
    """One line an event, for logs and pipes."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._title = title

    def __enter__(self) -> Self:
        self._say(self._title)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, stage: str) -> None:
        self._say(f"{stage}: started")

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        self._say(f"{stage}: done in {seconds:.1f} s: {summary}")

    def kept(self, stage: str, summary: str) -> None:
        self._say(f"{stage}: kept from the interrupted run: {summary}")

    def failed(self, stage: str) -> None:
        self._say(f"{stage}: failed")

    def note(self, message: str) -> None:
        self._say(f"  {message}")

    def _say(self, line: str) -> None:
        with self._lock:
            print(line, file=self._stream, flush=True)


def open_progress(title: str, stream: TextIO = sys.stderr) -> TableProgress | LineProgress:
    """A table where a person looks, lines where a file does."""
    return TableProgress(title, stream) if stream.isatty() else LineProgress(title, stream)
