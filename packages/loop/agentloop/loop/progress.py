"""How a run tells what it is doing: a port, and a silent one for tests."""

from __future__ import annotations

from typing import Protocol

STAGES = ("cluster", "ingest", "train", "validate", "deploy", "monitor")


class Progress(Protocol):
    """Hears of every stage of ``STAGES``. ``kept`` means an earlier attempt had finished it."""

    def started(self, stage: str) -> None: ...

    def finished(self, stage: str, seconds: float, summary: str) -> None: ...

    def kept(self, stage: str, summary: str) -> None: ...

    def failed(self, stage: str) -> None: ...

    def note(self, message: str) -> None: ...


class SilentProgress:
    """Keeps the finished stages, says nothing."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def started(self, stage: str) -> None:
        pass

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        self.stages.append(stage)

    def kept(self, stage: str, summary: str) -> None:
        self.stages.append(stage)

    def failed(self, stage: str) -> None:
        pass

    def note(self, message: str) -> None:
        pass
