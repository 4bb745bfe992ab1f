"""Execute the stages of a plan, each logged as intent, effect and done under an epoch.

Before it acts it observes: the split that is in force and the log say what is left to do, so that
a rollout whose controller was killed goes on, and nothing that took effect is done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from agentloop.contracts.errors import DeploymentError
from agentloop.contracts.models import ModelVersion
from agentloop.contracts.traffic import StagedModel, TrafficSplit
from agentloop.serving.control.rollout_plan import (
    PlanStage,
    Probe,
    Promote,
    Provision,
    RolloutPlan,
    Shadow,
    Shift,
    label,
    remaining,
)
from agentloop.serving.judging.decision import Evidence, Judgement
from agentloop.serving.rollout.log import RolloutLog
from agentloop.serving.rollout.split_writer import SplitWriter

PAUSED_SECONDS = 0.1
FIRST = Judgement("promote", ("first version of this model: there is nothing to compare it with",))


class Steps(Protocol):
    """The named steps of a deployment, as ``BlueGreenDeployment`` has them."""

    async def deploy_to_green(self, model_version: ModelVersion) -> StagedModel: ...
    async def run_smoke_tests(self, green: StagedModel) -> None: ...
    async def shadow_rollout(self, green: StagedModel, percentage: float) -> TrafficSplit: ...
    async def canary_rollout(
        self, green: StagedModel, traffic_percentage: float, by_session: bool
    ) -> TrafficSplit: ...
    async def monitor_deployment(
        self, green: StagedModel, duration: float
    ) -> tuple[Evidence, ...]: ...
    def validate_deployment_metrics(self, evidence: tuple[Evidence, ...]) -> Judgement: ...
    async def complete_rollout(self, green: StagedModel) -> TrafficSplit: ...


class RolloutRunner:
    """Runs one plan. ``is_paused`` is asked between stages and may raise what ends the rollout."""

    def __init__(
        self,
        steps: Steps,
        plan: RolloutPlan,
        writer: SplitWriter,
        log: RolloutLog,
        is_paused: Callable[[], bool],
    ) -> None:
        self._steps = steps
        self._plan = plan
        self._writer = writer
        self._log = log
        self._is_paused = is_paused
        self._green: StagedModel | None = None
        self._watched = False

    async def run(self, mv: ModelVersion) -> Judgement:
        """Up to promotion; the judgement by which it was reached, or was not.

        Raises DeploymentError, ArtifactUnverified, StaleEpoch, RolloutOvertaken.
        """
        plan, current = self._plan, self._writer.current
        judgement = FIRST if plan.stable is None else Judgement("promote", ())
        for stage in remaining(plan.stages, current, plan.version, self._log.stages_done()):
            if isinstance(stage, Shadow | Shift | Promote):
                against = await self._while_paused()
                if against is not None:
                    return against
            if isinstance(stage, Shadow | Shift):
                judgement = await self._judged(stage)
                if judgement.verdict != "promote":
                    return judgement
            else:
                await self._done(stage, mv)
        return judgement

    async def _done(self, stage: PlanStage, mv: ModelVersion) -> None:
        """A stage that needs no judge. Baking and retiring are the end's and the edge's."""
        match stage:
            case Provision():
                self._begin(stage)
                self._green = await self._steps.deploy_to_green(mv)
            case Probe():
                self._begin(stage)
                await self._steps.run_smoke_tests(self.green)
            case Promote():
                self._begin(stage)
                await self._steps.complete_rollout(self.green)
            case _:
                return
        self._log.record("done", label(stage), self._writer.epoch)

    async def _judged(self, stage: Shadow | Shift) -> Judgement:
        self._begin(stage)
        green = self.green
        if isinstance(stage, Shadow):
            await self._steps.shadow_rollout(green, stage.percent)
        else:
            await self._steps.canary_rollout(green, stage.percent, stage.by_session)
        self._watched = True
        evidence = await self._steps.monitor_deployment(green, stage.max_seconds)
        judgement = self._steps.validate_deployment_metrics(evidence)
        self._log.decided(label(stage), self._writer.epoch, judgement, evidence)
        return judgement

    async def _while_paused(self) -> Judgement | None:
        """Wait while the rollout is paused; what the judge says against the version meanwhile."""
        while await asyncio.to_thread(self._is_paused):
            if not self._watched:
                await asyncio.sleep(PAUSED_SECONDS)
                continue
            evidence = await self._steps.monitor_deployment(self.green, 0.0)
            judgement = self._steps.validate_deployment_metrics(evidence)
            if judgement.verdict == "rollback":
                return judgement
        return None

    def _begin(self, stage: PlanStage) -> None:
        self._log.begin(label(stage), self._writer.epoch)

    @property
    def green(self) -> StagedModel:
        """The version, once it runs. Raises DeploymentError before."""
        if self._green is None:
            raise DeploymentError(self._plan.model, self._plan.version, "it is not staged")
        return self._green
