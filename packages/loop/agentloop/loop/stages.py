"""The stages of a run as a port; ``conductor`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """What a stage hands on: JSON-ready ``value``, and one line for people."""

    value: dict[str, Any]
    summary: str


class LoopStages(Protocol):
    """Each takes and gives JSON-ready nouns, because each result is checkpointed."""

    async def ingest(self) -> StageOutcome: ...

    async def train(self, dataset: dict[str, Any], training_round: int) -> StageOutcome: ...

    async def validate(self, version: dict[str, Any]) -> StageOutcome: ...

    async def deploy(self, version: dict[str, Any]) -> StageOutcome: ...

    async def monitor(self, version: dict[str, Any]) -> StageOutcome: ...
