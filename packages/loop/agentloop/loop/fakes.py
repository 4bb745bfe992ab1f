"""Stages that do nothing but say so: what the workflow is tested with."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from agentloop.loop.stages import StageOutcome


class FakeStages:
    """Writes each stage's name to ``log``; kills its own process in the stage ``die_in``."""

    def __init__(self, log: Path, die_in: str = "", approved: bool = True) -> None:
        self._log = log
        self._die_in = die_in
        self._approved = approved

    async def ingest(self) -> StageOutcome:
        return self._done("ingest", {"version": "d1"})

    async def train(self, dataset: dict[str, Any], training_round: int) -> StageOutcome:
        version = {"model": "m", "version": f"1.{training_round}.0"}
        return self._done("train", {"model_version": version})

    async def validate(self, version: dict[str, Any]) -> StageOutcome:
        return self._done("validate", {"approved": self._approved})

    async def deploy(self, version: dict[str, Any]) -> StageOutcome:
        return self._done("deploy", {"status": "completed"})

    async def monitor(self, version: dict[str, Any]) -> StageOutcome:
        return self._done("monitor", {"metrics_url": "http://127.0.0.1/metrics"})

    def _done(self, stage: str, value: dict[str, Any]) -> StageOutcome:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{stage}\n")
        if stage == self._die_in:
            os.kill(os.getpid(), signal.SIGKILL)
        return StageOutcome(value, f"{stage} of {self._log.name}")
