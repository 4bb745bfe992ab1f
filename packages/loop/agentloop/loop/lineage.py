"""Tells the lineage of a run: one job a stage, each a part of the loop's own run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, cast

from agentloop.lifecycle.lineage import (
    DEFAULT_NAMESPACE,
    LineageDataset,
    LineageEmitter,
    LineageEvent,
    LineageRun,
    RunState,
    lineage_run,
    part_of,
)
from agentloop.lifecycle.lineage_process import code_version, error_text, ray_engine
from agentloop.loop.lineage_stages import StageLineage, stage_end, stage_start
from agentloop.loop.stages import StageOutcome

LAST_STAGE = "monitor"
_log = logging.getLogger("agentloop.lineage")


class Recorded(Protocol):
    """What has stages that are told."""

    @property
    def lineage(self) -> LoopLineage: ...


Given = ParamSpec("Given")
Stage = Callable[Given, Coroutine[Any, Any, StageOutcome]]


def recorded(method: Stage[Given]) -> Stage[Given]:
    """Tell the lineage of the stage that ``method`` is named for."""

    @wraps(method)
    async def told(*args: Given.args, **kwargs: Given.kwargs) -> StageOutcome:
        lineage = cast(Recorded, args[0]).lineage
        given = (*args[1:], *kwargs.values())
        return await lineage.record(method.__name__, given, method(*args, **kwargs))

    return told


@dataclass
class LoopLineage:
    """The lineage of the run of ``model`` that ``key`` names."""

    model: str
    key: str
    emitter: LineageEmitter
    now: Callable[[], datetime]
    namespace: str = DEFAULT_NAMESPACE
    _began: bool = field(default=False, init=False)

    async def record(
        self, stage: str, given: tuple[Any, ...], work: Awaitable[StageOutcome]
    ) -> StageOutcome:
        """Await ``work``, the stage that was ``given`` its arguments; what it raises goes on.

        The loop's own run ends with its last stage, with a version that the gate rejects, or with
        what a stage raises.
        """
        loop = self._loop_run()
        if not self._began:
            self._began = True
            self._emit("START", loop)
        begun = self._safely(lambda: stage_start(stage, self.model, given, self.namespace))
        self._tell("START", begun, loop)
        try:
            with part_of(loop):
                outcome = await work
        except BaseException as error:
            state = _ended(error)
            self._tell(state, begun, loop, error)
            self._emit(state, loop, error=error)
            self.emitter.flush()
            raise
        if begun is not None:
            opened, value = begun, outcome.value
            done = self._safely(lambda: stage_end(opened, given, value, self.namespace))
            self._tell("COMPLETE", done or begun, loop)
        if stage == LAST_STAGE or outcome.value.get("approved") is False:
            self._emit("COMPLETE", loop)
            await asyncio.to_thread(self.emitter.flush)
        return outcome

    def _safely(self, tell: Callable[[], StageLineage | None]) -> StageLineage | None:
        """A stage goes on, whatever becomes of its lineage."""
        try:
            return tell()
        except Exception as error:
            _log.warning("lineage: a stage was not told (%s)", error_text(error))
            return None

    def _tell(
        self,
        state: RunState,
        stage: StageLineage | None,
        loop: LineageRun,
        error: BaseException | None = None,
    ) -> None:
        if stage is not None:
            run = self._stage_run(stage, loop)
            self._emit(state, run, stage.inputs, stage.outputs, error)

    def _loop_run(self) -> LineageRun:
        told = f"Takes {self.model} from its source to a served, watched model."
        return lineage_run(self.namespace, f"{self.model}.loop", self.key, description=told)

    def _stage_run(self, stage: StageLineage, loop: LineageRun) -> LineageRun:
        job = f"{self.model}.{stage.name}"
        return lineage_run(
            self.namespace, job, self.key, stage.attempt, stage.description, parent=loop
        )

    def _emit(
        self,
        state: RunState,
        run: LineageRun,
        inputs: tuple[LineageDataset, ...] = (),
        outputs: tuple[LineageDataset, ...] = (),
        error: BaseException | None = None,
    ) -> None:
        self.emitter.emit(
            LineageEvent(
                state=state,
                at=self.now(),
                run=run,
                inputs=inputs,
                outputs=outputs,
                error=error_text(error),
                engine=ray_engine(),
                code_version=code_version(),
            )
        )


def _ended(error: BaseException) -> RunState:
    stopped = isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit)
    return "ABORT" if stopped else "FAIL"


def open_loop_lineage(
    model: str, key: str, home: Path, now: Callable[[], datetime], warn: Callable[[str], None]
) -> LoopLineage:
    """The lineage of a run in the state folder ``home``, as this process's environment asks."""
    from agentloop.lifecycle.openlineage_emitter import open_lineage

    namespace = os.environ.get("OPENLINEAGE_NAMESPACE") or DEFAULT_NAMESPACE
    return LoopLineage(model, key, open_lineage(home, os.environ, warn), now, namespace)
