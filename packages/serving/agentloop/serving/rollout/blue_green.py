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

from agentloop.contracts.errors import DeploymentError, ModelNotServed
from agentloop.contracts.models import ModelVersion
from agentloop.contracts.spec import LoopSpec
from agentloop.contracts.traffic import DeploymentResult, StagedModel, TrafficSplit, VersionTraffic
from agentloop.lifecycle.registry import Registry, advance
from agentloop.lifecycle.transitions import Trigger
from agentloop.serving.control.rollout_plan import RolloutPlan, plan_rollout
from agentloop.serving.control.store import ControlStore
from agentloop.serving.endpoints import control_store
from agentloop.serving.judging.decision import Evidence, Judgement, Limits, judge
from agentloop.serving.ports import ObserverFactory, ReportLoader, ServingPlane
from agentloop.serving.rollout.canary import Canary
from agentloop.serving.rollout.controller import RolloutController
from agentloop.serving.rollout.deployment_kit import DeploymentKit
from agentloop.serving.rollout.end import RolloutEnd
from agentloop.serving.rollout.log import Listener
from agentloop.serving.rollout.notice import Announce
from agentloop.serving.rollout.reports import report_loader
from agentloop.serving.rollout.rollback import Rollback
from agentloop.serving.rollout.smoke_tests import smoke_test
from agentloop.serving.rollout.split_writer import SplitWriter
from agentloop.serving.rollout.staging import Staging


class BlueGreenDeployment:
    """Deploys and rolls back the versions of one loop's model.

    ``trusted_key`` is the gate's public key (hex). ``store``, ``plane`` and ``load_report`` are
    those of ``home`` and of the connected cluster unless given. ``announce`` tells people how a
    rollout ended badly, ``listen`` hears each event of a rollout's log.
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
        announce: Announce | None = None,
        listen: Listener | None = None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex[:12],
    ) -> None:
        self._spec, self._registry = spec, registry
        self._store = store or control_store(home)
        self._plane = plane or _ray_plane(home, spec, observer_factory)
        load = load_report or report_loader(home)
        self._staging = Staging(self._store, self._plane, load, trusted_key, clock)
        end = RolloutEnd(self._store, registry, spec.rollout, clock, listen)
        self._kit = DeploymentKit(
            self._store, self._plane, self._staging, registry, end, clock, new_id, announce
        )
        self._controller: RolloutController | None = None
        self._writers: dict[str, SplitWriter] = {}
        self._canary: Canary | None = None

    # --- the front door --------------------------------------------------------------------------

    async def deploy_model(self, model_version: ModelVersion) -> DeploymentResult:
        """Bring a version to 100% of its model's traffic, step by judged step.

        ``status`` is completed, held (no evidence in time), rolled_back (evidence against it) or
        aborted (by somebody's word). Run again after a kill it goes on with the same deployment; a
        version that is at 100% already changes nothing. Raises ArtifactUnverified without a valid
        signed report, RolloutConflict, RolloutOvertaken, DeploymentError when its replicas or
        smoke tests fail.
        """
        return await self.apply(self.plan(model_version), model_version)

    def plan(self, model_version: ModelVersion) -> RolloutPlan:
        """What ``deploy_model`` would do; nothing is written."""
        mv = model_version
        return plan_rollout(self._store.split(mv.model), mv.model, mv.version, self._spec.rollout)

    async def apply(
        self, plan: RolloutPlan, model_version: ModelVersion | None = None
    ) -> DeploymentResult:
        """Execute a plan, as ``deploy_model`` does. Raises PlanOutdated as well."""
        mv = model_version
        if mv is None:
            mv = await asyncio.to_thread(self._registry.get, plan.model, plan.version)
        self._writers[mv.model] = SplitWriter(self._store, self._plane, mv.model)
        self._canary = None
        self._controller = RolloutController(self._kit, self, plan, self._writers[mv.model])
        try:
            result = await self._controller.run(mv)
        finally:
            self._controller = None
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
        """Give all traffic back to the previous version, check that it answers, and tell people.

        A canary under way is abandoned; else the version before the stable one returns, at once
        while it is warm, from the registry after its retirement. Raises ModelNotServed,
        DeploymentError where there is nothing to go back to.
        """
        self._writers[model] = SplitWriter(self._store, self._plane, model)
        result = await Rollback(self._kit, self._writers[model], model).run()
        return replace(result, endpoint=self.endpoint(model))

    async def restore(self) -> tuple[str, ...]:
        """Start again every version that the control store wants, after the serving plane came up
        on a fresh cluster; the versions restored. Raises DeploymentError."""
        return await self._staging.restore()

    # --- its named steps -------------------------------------------------------------------------

    async def deploy_to_green(self, model_version: ModelVersion) -> StagedModel:
        """Run the version beside the live one at weight 0. Raises DeploymentError."""
        mv = model_version
        runs = await asyncio.to_thread(self._staging.is_ready, mv.model, mv.version)
        started = self._effect("provision")
        return await self._staging.deploy(mv, (lambda: None) if runs else started)

    async def run_smoke_tests(self, green: StagedModel) -> None:
        """Real requests to the private route. Raises DeploymentError naming what failed."""
        bodies = await asyncio.to_thread(self._staging.bodies, green.model, green.version)
        failures = await asyncio.to_thread(smoke_test, self._plane.call, green, bodies[0])
        if failures:
            advance(self._registry, green.model, green.version, Trigger.STAGING_TESTS_FAILED)
            reason = "smoke tests: " + "; ".join(failures)
            raise DeploymentError(green.model, green.version, reason)
        advance(self._registry, green.model, green.version, Trigger.STAGING_TESTS_PASSED)
        self._effect("probe")()

    async def shadow_rollout(self, green: StagedModel, percentage: float = 100) -> TrafficSplit:
        """Send the version a copy of a share of the requests (percent); its answers reach nobody.
        Raises StaleEpoch."""
        canary, before = await self._watched(green), self._writer(green.model).epoch
        split = await canary.shadow(percentage)
        if split.epoch != before:
            self._effect(f"shadow {percentage:g}%")()
        return split

    async def canary_rollout(
        self, green: StagedModel, traffic_percentage: float = 10, by_session: bool = False
    ) -> TrafficSplit:
        """Give the version a share of the traffic (percent), or of the sessions, under a lease.
        Raises ArtifactUnverified, StaleEpoch."""
        self._staging.require_approved(green.model, green.version)
        canary, before = await self._watched(green), self._writer(green.model).epoch
        split = await canary.give(traffic_percentage, by_session)
        if split.epoch != before:
            self._effect(f"shift {traffic_percentage:g}%")()
        return split

    async def monitor_deployment(
        self, green: StagedModel, duration: float = 300
    ) -> tuple[Evidence, ...]:
        """Gather evidence until the judge can decide, at most ``duration`` seconds; the lease is
        renewed meanwhile. Raises StaleEpoch or RolloutOvertaken when somebody else moved the
        traffic."""
        canary = self._canary
        if canary is None or canary.green.version != green.version:
            raise DeploymentError(green.model, green.version, "it has no canary traffic to watch")
        shortest = min(canary.settings.step_seconds, duration)
        if self._controller is not None:
            return await canary.watch(shortest, duration)
        with self._kit.lease(self._writer(green.model)):
            return await canary.watch(shortest, duration)

    def validate_deployment_metrics(self, evidence: tuple[Evidence, ...]) -> Judgement:
        """The judge's word on the evidence of all steps so far."""
        if self._canary is not None:
            return self._canary.judge(evidence)
        return judge(evidence, Limits.of(self._spec.rollout))

    async def complete_rollout(self, green: StagedModel) -> TrafficSplit:
        """Make the version the stable one. Raises ArtifactUnverified, StaleEpoch."""
        self._staging.require_approved(green.model, green.version)
        split = await asyncio.to_thread(self._writer(green.model).settle, green.version)
        self._effect("promote")()
        return split

    async def rollback_deployment(self, green: StagedModel) -> TrafficSplit:
        """All traffic back to stable; the version stays warm at weight 0 for the bake."""
        writer = self._writer(green.model)
        split = await asyncio.to_thread(writer.settle, writer.stable)
        self._effect("rollback")()
        return split

    # --- readers ---------------------------------------------------------------------------------

    def endpoint(self, model: str) -> str:
        """Where clients POST. Raises ModelNotServed."""
        if self._store.split(model) is None:
            raise ModelNotServed(model)
        return f"{self._plane.url}/v2/models/{model}/infer"

    def traffic(self, model: str) -> tuple[VersionTraffic, ...]:
        """What the edge counted, a version."""
        return tuple(self._plane.traffic(model))

    def metrics(self) -> dict[str, float]:
        """The figures of the rollout under way; empty without one."""
        return self._canary.metrics() if self._canary is not None else {}

    # --- inside ----------------------------------------------------------------------------------

    async def _watched(self, green: StagedModel) -> Canary:
        """The canary's hand and eye, made when it first gets traffic."""
        if self._canary is None or self._canary.green.version != green.version:
            bodies = await asyncio.to_thread(self._staging.bodies, green.model, green.version)
            writer = self._writer(green.model)
            if self._controller is not None:
                self._canary = self._controller.canary(green, bodies)
            else:
                self._canary = self._kit.canary(green, bodies, writer, self._spec.rollout)
        return self._canary

    def _effect(self, action: str) -> Callable[[], None]:
        controller = self._controller
        return (lambda: controller.took_effect(action)) if controller else (lambda: None)

    def _writer(self, model: str) -> SplitWriter:
        if model not in self._writers:
            self._writers[model] = SplitWriter(self._store, self._plane, model)
        return self._writers[model]


def _ray_plane(
    home: Path, spec: LoopSpec, observer_factory: ObserverFactory | None
) -> ServingPlane:
    from agentloop.serving.ray_serve_plane import RayServingPlane

    return RayServingPlane(home, spec.serving, observer_factory)
