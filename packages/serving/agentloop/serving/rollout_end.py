"""The bookkeeping at the end of a rollout or a rollback; every part may be done twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from agentloop.contracts.errors import DeploymentError, ModelNotServed
from agentloop.contracts.models import ModelVersion
from agentloop.contracts.spec import RolloutSpec
from agentloop.contracts.traffic import DeploymentResult, TrafficSplit
from agentloop.lifecycle.registry import Registry, advance
from agentloop.lifecycle.transitions import Trigger
from agentloop.serving.canary_judge import Judgement
from agentloop.serving.control_store import Bake, ControlStore, Rollout, RolloutEvent
from agentloop.serving.registry_moves import crown

Kind = Literal["intent", "effect", "done"]


class RolloutEnd:
    """Writes how a rollout ended: bakes, registry moves, the log."""

    def __init__(
        self,
        store: ControlStore,
        registry: Registry,
        spec: RolloutSpec,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._registry = registry
        self._spec = spec
        self._clock = clock

    def completed(
        self, rollout: Rollout, judgement: Judgement, metrics: Mapping[str, float]
    ) -> DeploymentResult:
        """The version is stable; the one before it stays warm until the bake ends."""
        model, version, previous = rollout.model, rollout.version, rollout.previous
        self._store.remove_bake(model, version)
        if previous is not None:
            self._bake(model, previous, self._spec.bake_seconds)
        advance(self._registry, model, version, Trigger.STAGING_TESTS_PASSED, Trigger.DEPLOYED)
        crown(self._registry, model, version, previous)
        return self._close(rollout, "completed", judgement, metrics)

    def confirmed(self, mv: ModelVersion, judgement: Judgement) -> DeploymentResult:
        """The version is stable already; what a kill left undone of its rollout is done now."""
        found = [r for r in self._store.rollouts(mv.model) if r.version == mv.version]
        if found and found[-1].state == "running":
            return self.completed(found[-1], judgement, {})
        known = found[-1].deployment_id if found else ""
        return DeploymentResult(mv.version, known, "completed", reasons=judgement.reasons)

    def abandoned(
        self, rollout: Rollout, judgement: Judgement, metrics: Mapping[str, float]
    ) -> DeploymentResult:
        """Traffic is back on stable: by evidence (rolled_back), or for want of it (held)."""
        model, version = rollout.model, rollout.version
        self._bake(model, version, self._spec.bake_seconds)
        if judgement.verdict != "rollback":
            return self._close(rollout, "held", judgement, metrics)
        degraded = (
            Trigger.DEPLOYED,
            Trigger.PERFORMANCE_DEGRADED,
            Trigger.PREVIOUS_VERSION_RESTORED,
        )
        advance(self._registry, model, version, *degraded)
        return self._close(rollout, "rolled_back", judgement, metrics)

    def failed(self, rollout: Rollout, reason: str) -> None:
        """It never got traffic, or lost it to an error: its replicas go at once."""
        self._bake(rollout.model, rollout.version, 0.0)
        self._close(rollout, "failed", Judgement("rollback", (reason[:500],)), {})

    def rollback_target(self, current: TrafficSplit | None, model: str) -> tuple[str, str]:
        """``(version to leave, version to return to)``. Raises ModelNotServed, DeploymentError."""
        if current is None:
            raise ModelNotServed(model)
        canary = [v for v, w in current.weights.items() if w > 0 and v != current.stable]
        if canary:
            return canary[0], current.stable
        previous = self._previous(model, current.stable)
        if previous is None:
            reason = "there is no earlier version to go back to"
            raise DeploymentError(model, current.stable, reason)
        return current.stable, previous

    def rolled_back(
        self, deployment_id: str, model: str, left: str, target: str
    ) -> DeploymentResult:
        """Traffic went from ``left`` back to ``target`` by somebody's word."""
        now = self._clock()
        self._store.remove_bake(model, target)
        self._bake(model, left, self._spec.bake_seconds)
        for rollout in self._store.rollouts(model):
            if rollout.version == left and rollout.state in ("running", "completed"):
                self._store.put_rollout(replace(rollout, state="rolled_back"))
        rollout = Rollout(
            deployment_id, model, target, "completed", now, now, self._previous(model, target)
        )
        degraded = (Trigger.PERFORMANCE_DEGRADED, Trigger.PREVIOUS_VERSION_RESTORED)
        advance(self._registry, model, left, *degraded)
        crown(self._registry, model, target, None)
        reason = f"rolled back from {left} to {target}"
        self._close(rollout, "completed", Judgement("promote", (reason,)), {})
        return DeploymentResult(target, deployment_id, "rolled_back", reasons=(reason,))

    def record(self, rollout: Rollout, kind: Kind, action: str, **detail: object) -> None:
        """One line of the log."""
        at = self._clock()
        event = RolloutEvent(at, rollout.model, rollout.deployment_id, kind, action, detail)
        self._store.record(event)

    def _previous(self, model: str, version: str) -> str | None:
        done = [
            r
            for r in self._store.rollouts(model)
            if r.version == version and r.state == "completed" and r.previous is not None
        ]
        return done[-1].previous if done else None

    def _bake(self, model: str, version: str, seconds: float) -> None:
        if any((s.model, s.version) == (model, version) for s in self._store.staged()):
            self._store.put_bake(Bake(model, version, self._clock() + seconds))

    def _close(
        self,
        rollout: Rollout,
        state: Literal["completed", "held", "rolled_back", "failed"],
        judgement: Judgement,
        metrics: Mapping[str, float],
    ) -> DeploymentResult:
        self._store.put_rollout(replace(rollout, state=state, reasons=judgement.reasons))
        self.record(rollout, "done", state, reasons=list(judgement.reasons), metrics=dict(metrics))
        return DeploymentResult(
            rollout.version, rollout.deployment_id, state, dict(metrics), judgement.reasons
        )
