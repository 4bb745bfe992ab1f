"""The run as a durable DBOS workflow: each stage is a step whose result is checkpointed.

After a kill, the same command goes on behind the last finished step. A step that was cut off runs
again, so every stage is idempotent: datasets are named by their content, versions by a training
key, deployments by the version they end at.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSConfiguredInstance, SetWorkflowID

from agentloop.contracts import StateUnreachable, StateUnwritable
from agentloop.loop.home import without_password
from agentloop.loop.progress import Progress
from agentloop.loop.run_keys import PastWorkflow
from agentloop.loop.stages import LoopStages, StageOutcome

# Raised when the steps change: an interrupted run of other steps must not be replayed.
STEPS_VERSION = "agentloop-steps-1"
UNFINISHED = ("PENDING", "ENQUEUED", "DELAYED")
# How long the store may take to record how a stage ended, before the run is given up.
RECORD_FAILURE_SECONDS = 5.0
RECORD_SECONDS = 60.0
WATCH_SECONDS = 0.2


@DBOS.dbos_class()
class LoopWorkflow(DBOSConfiguredInstance):
    """The steps of one run, bound to the stages that do the work."""

    def __init__(self, stages: LoopStages, progress: Progress) -> None:
        super().__init__(config_name="loop")
        self._stages = stages
        self._progress = progress
        self._ran: set[str] = set()
        self._failure: BaseException | None = None
        self._idle_since = math.inf

    @DBOS.workflow()
    async def run(self, training_round: int) -> dict[str, Any]:
        """Every stage in order; returns each stage's outcome by name."""
        outcomes: dict[str, Any] = {}
        outcomes["ingest"] = await self._keep("ingest", self.ingest())
        dataset = outcomes["ingest"]["value"]
        outcomes["train"] = await self._keep("train", self.train(dataset, training_round))
        version = outcomes["train"]["value"]["model_version"]
        outcomes["validate"] = await self._keep("validate", self.validate(version))
        if outcomes["validate"]["value"]["approved"]:
            outcomes["deploy"] = await self._keep("deploy", self.deploy(version))
            if outcomes["deploy"]["value"]["status"] == "completed":
                outcomes["monitor"] = await self._keep("monitor", self.monitor(version))
        return outcomes

    @DBOS.step()
    async def ingest(self) -> dict[str, Any]:
        return await self._timed("ingest", self._stages.ingest)

    @DBOS.step()
    async def train(self, dataset: dict[str, Any], training_round: int) -> dict[str, Any]:
        return await self._timed("train", lambda: self._stages.train(dataset, training_round))

    @DBOS.step()
    async def validate(self, version: dict[str, Any]) -> dict[str, Any]:
        return await self._timed("validate", lambda: self._stages.validate(version))

    @DBOS.step()
    async def deploy(self, version: dict[str, Any]) -> dict[str, Any]:
        return await self._timed("deploy", lambda: self._stages.deploy(version))

    @DBOS.step()
    async def monitor(self, version: dict[str, Any]) -> dict[str, Any]:
        return await self._timed("monitor", lambda: self._stages.monitor(version))

    def give_up_reason(self, store: str) -> BaseException | None:
        """What to raise where the end of a stage is not recorded in time; None while it may be.

        The failure itself comes first: it still has the causes that a record would have lost.
        """
        idle = time.monotonic() - self._idle_since
        if self._failure is not None and idle > RECORD_FAILURE_SECONDS:
            return self._failure
        return StateUnwritable(store) if idle > RECORD_SECONDS else None

    @property
    def failure(self) -> BaseException | None:
        """What a stage raised in this process."""
        return self._failure

    async def _timed(
        self, stage: str, work: Callable[[], Awaitable[StageOutcome]]
    ) -> dict[str, Any]:
        began = time.monotonic()
        self._idle_since = math.inf
        self._ran.add(stage)
        self._progress.started(stage)
        try:
            outcome = await work()
        except BaseException as error:
            self._failure = error
            self._progress.failed(stage)
            raise
        finally:
            self._idle_since = time.monotonic()
        seconds = time.monotonic() - began
        self._progress.finished(stage, seconds, outcome.summary)
        return {"seconds": seconds, "summary": outcome.summary, "value": outcome.value}

    async def _keep(self, stage: str, step: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        outcome = await step
        if stage not in self._ran:
            self._progress.kept(stage, outcome["summary"])
        return outcome


def past_workflows(url: str) -> tuple[PastWorkflow, ...]:
    """Every run that the store at ``url`` remembers; one that other steps began cannot go on.

    Raises StateUnreachable.
    """
    try:
        DBOS.migrate(url)
    except Exception as error:
        if url.startswith("sqlite:"):
            raise
        reason = str(error.__cause__ or error).strip().splitlines()[0].replace(url, "the database")
        raise StateUnreachable(without_password(url), reason) from error
    client = DBOSClient(system_database_url=url)
    try:
        found = client.list_workflows()
        return tuple(
            PastWorkflow(w.workflow_id, _status(w.status, w.app_version or "")) for w in found
        )
    finally:
        client.destroy()


def _status(status: str, version: str) -> str:
    if status not in UNFINISHED:
        return status
    return "PENDING" if version.startswith(f"{STEPS_VERSION}:") else "ABANDONED"


def run_workflow(
    url: str,
    workflow_id: str,
    superseded: tuple[str, ...],
    workflow: LoopWorkflow,
    training_round: int,
) -> dict[str, Any]:
    """Run, or go on with, ``workflow_id``; returns the stages' outcomes.

    ``superseded`` workflows are cancelled first. Raises what a stage raised.
    """
    if superseded:
        client = DBOSClient(system_database_url=url)
        for old in superseded:
            client.cancel_workflow(old)
        client.destroy()
    DBOS.launch()
    try:
        return asyncio.run(_start(url, workflow_id, workflow, training_round))
    finally:
        DBOS.destroy(workflow_completion_timeout_sec=0)


def configure(url: str, model: str) -> None:
    """Prepare DBOS in this process; nothing listens and nothing is sent anywhere.

    DBOS itself goes on with every interrupted run of its application version, through the stages
    at hand. The version names the model, so that no run goes on with the stages of another.
    """
    config: DBOSConfig = {
        "name": "agentloop",
        "system_database_url": url,
        "run_admin_server": False,
        "log_level": "CRITICAL",
        "application_version": f"{STEPS_VERSION}:{model}",
    }
    DBOS(config=config)


async def _start(
    url: str, workflow_id: str, workflow: LoopWorkflow, training_round: int
) -> dict[str, Any]:
    with SetWorkflowID(workflow_id):
        handle = await DBOS.start_workflow_async(workflow.run, training_round)
    result = asyncio.ensure_future(handle.get_result())
    while not (await asyncio.wait({result}, timeout=WATCH_SECONDS))[0]:
        if (reason := workflow.give_up_reason(without_password(url))) is not None:
            result.cancel()
            raise reason
    if result.exception() is not None and workflow.failure is not None:
        raise workflow.failure
    outcomes: dict[str, Any] = result.result()
    return outcomes
