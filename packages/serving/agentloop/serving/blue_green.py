"""Blue-green deployment with a judged canary: the front door of serving.

Everything here works on ports, so the same code runs against Ray and against the fakes. What
blocks runs in threads; what must survive a kill is in the control store before it takes effect.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agentloop.contracts.errors import (
    ArtifactUnverified,
    DeploymentError,
    ModelNotServed,
    StaleEpoch,
)
from agentloop.contracts.models import ModelVersion
from agentloop.contracts.spec import LoopSpec
from agentloop.contracts.traffic import DeploymentResult, StagedModel, TrafficSplit, VersionTraffic
from agentloop.lifecycle.registry import Registry, advance
from agentloop.lifecycle.transitions import Trigger
from agentloop.serving.canary_judge import Evidence, Judgement, Limits, judge
from agentloop.serving.canary_watch import CanaryWatch
from agentloop.serving.control_store import ControlStore, Rollout
from agentloop.serving.endpoints import control_store
from agentloop.serving.ports import ObserverFactory, ReportLoader, ServingPlane
from agentloop.serving.reports import report_loader
from agentloop.serving.rollout_end import RolloutEnd
from agentloop.serving.rollout_plan import PlanStage, Shift, plan_stages
from agentloop.serving.smoke_tests import smoke_test
from agentloop.serving.split_writer import SplitWriter
from agentloop.serving.staging import READY_SECONDS, Staging

LEASE_SECONDS = 15.0
WATCH_SECONDS = 0.05


class BlueGreenDeployment:
    """Deploys and rolls back the versions of one loop's model.

    ``trusted_key`` is the gate's public key (hex). ``store``, ``plane`` and ``load_report`` are
    those of ``home`` and of the connected cluster unless given.
    """

    def __init__(
        self,
        spec: LoopSpec,
        *,
        home: Path,
        registry: Registry,
        trusted_key: str,
        observer_factory: ObserverFactory | None = None,
        load_report: ReportLoader | None = None,
        store: ControlStore | None = None,
        plane: ServingPlane | None = None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex[:12],
    ) -> None:
        self._spec, self._registry = spec, registry
        self._clock, self._new_id = clock, new_id
        self._store = store or control_store(home)
        self._plane = plane or _ray_plane(home, spec, observer_factory)
        self._staging = Staging(
            self._store, self._plane, load_report or report_loader(home), trusted_key, clock
        )
        self._end = RolloutEnd(self._store, registry, spec.rollout, clock)
        self._writers: dict[str, SplitWriter] = {}
        self._watch: CanaryWatch | None = None
        self._rollout: Rollout | None = None

    # --- the front door --------------------------------------------------------------------------

    async def deploy_model(self, model_version: ModelVersion) -> DeploymentResult:
        """Bring a version to 100% of its model's traffic, step by judged step.

        ``status`` is completed, held (no evidence in time) or rolled_back (evidence against it).
        Run again after a kill it goes on with the same deployment; a version that is at 100%
        already changes nothing. Raises ArtifactUnverified without a valid signed report,
        RolloutConflict, StaleEpoch, DeploymentError when its replicas or smoke tests fail.
        """
        mv = model_version
        self._writers[mv.model] = SplitWriter(self._store, self._plane, mv.model)
        stages = plan_stages(self._writer(mv.model).current, mv.version, self._spec.rollout)
        if not stages:
            return await self._confirm(mv)
        self._staging.verify(mv)
        rollout = self._claim(mv)
        self._staging.approve(mv)
        self._end.record(rollout, "intent", "deploy", plan=[type(s).__name__ for s in stages])
        started = self._clock()
        try:
            green = await self.deploy_to_green(mv)
            await self.run_smoke_tests(green)
            judgement = await self._shift(green, stages)
        except StaleEpoch:
            raise  # a newer controller, or the edge's lease, has decided: touch nothing
        except Exception as error:
            raise await self._failed(rollout, error) from error
        finally:
            self._rollout = None
        metrics = {**self._metrics(), "seconds": self._clock() - started}
        if judgement.verdict == "promote":
            await self.complete_rollout(green)
            result = self._end.completed(rollout, judgement, metrics)
        else:
            await self.rollback_deployment(green)
            result = self._end.abandoned(rollout, judgement, metrics)
        return replace(result, endpoint=self.endpoint(mv.model))

    async def stage(self, model_version: ModelVersion) -> StagedModel:
        """Run a version at weight 0, reachable by its private URL; that needs no report.

        Raises ArtifactUnverified, DeploymentError.
        """
        return await self._staging.deploy(model_version)

    async def unstage(self, model_version: ModelVersion) -> None:
        """Have the replicas of a version without traffic stopped, as after a rejecting gate."""
        await asyncio.to_thread(self._staging.retire, model_version.model, model_version.version)

    async def rollback(self, model: str) -> DeploymentResult:
        """Give all traffic back to the previous version, and check that it answers.

        A canary under way is abandoned; else the version before the stable one returns, at once
        while it is warm, from the registry after its retirement. Raises ModelNotServed,
        DeploymentError where there is nothing to go back to.
        """
        writer = self._writers[model] = SplitWriter(self._store, self._plane, model)
        left, target = self._end.rollback_target(writer.current, model)
        warm = self._staging.find(model, target)
        ready = await asyncio.to_thread(self._staging.is_ready, model, target)
        if warm is None or not warm.approved or not ready:
            candidate = await asyncio.to_thread(self._registry.get, model, target)
            self._staging.approve(candidate)
            await self._staging.deploy(candidate)
        await asyncio.to_thread(writer.settle, target)
        health = await asyncio.to_thread(self._plane.call, f"/v2/models/{model}/ready", None)
        result = self._end.rolled_back(self._new_id(), model, left, target)
        if health.status != 200:
            raise DeploymentError(model, target, f"after the rollback it answers {health.status}")
        return replace(result, endpoint=self.endpoint(model))

    async def restore(self) -> tuple[str, ...]:
        """Start again every version that the control store wants, after the serving plane came up
        on a fresh cluster; the versions restored. Raises DeploymentError."""
        return await self._staging.restore()

    # --- its named steps -------------------------------------------------------------------------

    async def deploy_to_green(self, model_version: ModelVersion) -> StagedModel:
        """Run the version beside the live one at weight 0. Raises DeploymentError."""
        return await self._staging.deploy(model_version)

    async def run_smoke_tests(self, green: StagedModel) -> None:
        """Real requests to the private route. Raises DeploymentError naming what failed."""
        bodies = await asyncio.to_thread(self._staging.bodies, green.model, green.version)
        failures = await asyncio.to_thread(smoke_test, self._plane.call, green, bodies[0])
        if failures:
            advance(self._registry, green.model, green.version, Trigger.STAGING_TESTS_FAILED)
            reason = "smoke tests: " + "; ".join(failures)
            raise DeploymentError(green.model, green.version, reason)
        advance(self._registry, green.model, green.version, Trigger.STAGING_TESTS_PASSED)

    async def canary_rollout(
        self, green: StagedModel, traffic_percentage: float = 10
    ) -> TrafficSplit:
        """Give the version a share of the traffic (percent), under a lease. Raises
        ArtifactUnverified, StaleEpoch."""
        self._staging.require_approved(green.model, green.version)
        split = await self._lease(green, traffic_percentage)
        if self._watch is None or self._watch.version != green.version:
            bodies = await asyncio.to_thread(self._staging.bodies, green.model, green.version)
            self._watch = CanaryWatch(green, self._plane, bodies, self._spec.rollout)
        await asyncio.to_thread(self._watch.begin_step)
        return split

    async def monitor_deployment(
        self, green: StagedModel, duration: float = 300
    ) -> tuple[Evidence, ...]:
        """Gather evidence until the judge can decide, at most ``duration`` seconds; renews the
        lease meanwhile. Raises StaleEpoch when somebody else moved the traffic."""
        if self._watch is None:
            raise DeploymentError(green.model, green.version, "it has no canary traffic to watch")
        started = self._clock()
        while True:
            evidence = await asyncio.to_thread(self._watch.observe)
            waited = self._clock() - started
            verdict = self.validate_deployment_metrics(evidence).verdict
            enough = verdict == "promote" and waited >= self._spec.rollout.step_seconds
            if verdict == "rollback" or enough or waited >= duration:
                return evidence
            split = self._writer(green.model).current
            if split and (split.lease_until or 0) - self._clock() < LEASE_SECONDS / 2:
                await self._lease(green, split.weights[green.version])
            await asyncio.sleep(WATCH_SECONDS)

    def validate_deployment_metrics(self, evidence: tuple[Evidence, ...]) -> Judgement:
        """The judge's word on the evidence of all steps so far."""
        return judge(evidence, Limits.of(self._spec.rollout))

    async def complete_rollout(self, green: StagedModel) -> TrafficSplit:
        """Make the version the stable one. Raises ArtifactUnverified, StaleEpoch."""
        self._staging.require_approved(green.model, green.version)
        return await asyncio.to_thread(self._writer(green.model).settle, green.version)

    async def rollback_deployment(self, green: StagedModel) -> TrafficSplit:
        """All traffic back to stable; the version stays warm at weight 0 for the bake."""
        writer = self._writer(green.model)
        return await asyncio.to_thread(writer.settle, writer.stable)

    # --- readers ---------------------------------------------------------------------------------

    def endpoint(self, model: str) -> str:
        """Where clients POST. Raises ModelNotServed."""
        if self._store.split(model) is None:
            raise ModelNotServed(model)
        return f"{self._plane.url}/v2/models/{model}/infer"

    def traffic(self, model: str) -> tuple[VersionTraffic, ...]:
        """What the edge counted, a version."""
        return tuple(self._plane.traffic(model))

    # --- inside ----------------------------------------------------------------------------------

    async def _shift(self, green: StagedModel, stages: tuple[PlanStage, ...]) -> Judgement:
        self._watch = None
        if self._writer(green.model).current is None:
            reason = "first version of this model: there is nothing to compare it with"
            return Judgement("promote", (reason,))
        judgement = Judgement("promote", ())
        for stage in stages:
            if isinstance(stage, Shift):
                await self.canary_rollout(green, stage.percent)
                evidence = await self.monitor_deployment(green, stage.max_seconds)
                judgement = self.validate_deployment_metrics(evidence)
                if judgement.verdict != "promote":
                    break
        return judgement

    async def _lease(self, green: StagedModel, percent: float) -> TrafficSplit:
        until = self._clock() + LEASE_SECONDS
        if self._rollout is not None:
            self._rollout = replace(self._rollout, lease_until=until)
            self._store.put_rollout(self._rollout)
        writer = self._writer(green.model)
        return await asyncio.to_thread(writer.canary, green.version, percent, until)

    def _claim(self, mv: ModelVersion) -> Rollout:
        now = self._clock()
        current = self._writer(mv.model).current
        previous = current.stable if current else None
        lease = now + READY_SECONDS + LEASE_SECONDS
        asked = Rollout(self._new_id(), mv.model, mv.version, "running", now, lease, previous)
        self._rollout = self._store.claim(asked, now)
        return self._rollout

    async def _confirm(self, mv: ModelVersion) -> DeploymentResult:
        """The result for a version at 100%: finish what a kill left undone, revive replicas that
        went with their cluster."""
        if not await asyncio.to_thread(self._staging.is_ready, mv.model, mv.version):
            await self._staging.deploy(mv)
        reason = Judgement("promote", ("it is at 100% already",))
        return replace(self._end.confirmed(mv, reason), endpoint=self.endpoint(mv.model))

    async def _failed(self, rollout: Rollout, error: Exception) -> Exception:
        writer = self._writer(rollout.model)
        if writer.current is not None and writer.current.lease_until is not None:
            await asyncio.to_thread(writer.settle, writer.stable)
        await asyncio.to_thread(self._end.failed, rollout, str(error))
        if isinstance(error, (DeploymentError, ArtifactUnverified)):
            return error
        return DeploymentError(rollout.model, rollout.version, f"{type(error).__name__}: {error}")

    def _metrics(self) -> dict[str, float]:
        return self._watch.metrics() if self._watch else {}

    def _writer(self, model: str) -> SplitWriter:
        if model not in self._writers:
            self._writers[model] = SplitWriter(self._store, self._plane, model)
        return self._writers[model]


def _ray_plane(
    home: Path, spec: LoopSpec, observer_factory: ObserverFactory | None
) -> ServingPlane:
    from agentloop.serving.ray_serve_plane import RayServingPlane

    return RayServingPlane(home, spec.serving, observer_factory)
