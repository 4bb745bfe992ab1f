"""Stages that do nothing but say so: what the workflow is tested with."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentloop.loop.stages import StageOutcome


class FakeStages:
    """Writes each stage's name to ``log``; kills its own process in the stage ``die_in``.

    A stage takes ``seconds``, and ``fail`` is called in it: whatever that raises, the stage raises.
    """

    def __init__(
        self,
        log: Path,
        die_in: str = "",
        approved: bool = True,
        seconds: float = 0.0,
        fail: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self._log = log
        self._die_in = die_in
        self._approved = approved
        self._seconds = seconds
        self._fail = fail

    async def ingest(self) -> StageOutcome:
        return await self._done("ingest", {"version": "d1"})

    async def train(self, dataset: dict[str, Any], training_round: int) -> StageOutcome:
        version = {"model": "m", "version": f"1.{training_round}.0"}
        return await self._done("train", {"model_version": version})

    async def validate(self, version: dict[str, Any]) -> StageOutcome:
        return await self._done("validate", {"approved": self._approved})

    async def deploy(self, version: dict[str, Any]) -> StageOutcome:
        return await self._done("deploy", {"status": "completed"})

    async def monitor(self, version: dict[str, Any]) -> StageOutcome:
        return await self._done("monitor", {"metrics_url": "http://127.0.0.1/metrics"})

    async def _done(self, stage: str, value: dict[str, Any]) -> StageOutcome:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{stage}\n")
        if stage == self._die_in:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(self._seconds)
        self._fail(stage)
        return StageOutcome(value, f"{stage} of {self._log.name}")
