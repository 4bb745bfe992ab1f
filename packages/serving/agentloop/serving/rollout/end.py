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
from agentloop.serving.control.store import Bake, ControlStore, Rollout
from agentloop.serving.judging.decision import Judgement
from agentloop.serving.rollout.log import Listener, RolloutLog, told
from agentloop.serving.rollout.registry_moves import crown

Ended = Literal["completed", "held", "rolled_back", "failed"]


class RolloutEnd:
    """Writes how a rollout ended: bakes, registry moves, the log. What a rollout's own plan says
    about baking goes before ``spec``."""

    def __init__(
        self,
        store: ControlStore,
        registry: Registry,
        spec: RolloutSpec,
        clock: Callable[[], float],
        listen: Listener | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._spec = spec
        self._clock = clock
        self._listen = listen

    def completed(
        self, rollout: Rollout, judgement: Judgement, metrics: Mapping[str, float]
    ) -> DeploymentResult:
        """The version is stable; the one before it stays warm until the bake ends."""
        model, version, previous = rollout.model, rollout.version, rollout.previous
        self._store.remove_bake(model, version)
        if previous is not None:
            self._bake_logged(rollout, previous)
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
        self._bake(model, version, self._bake_seconds(rollout))
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
        last = self._store.rollouts(model)[-1:]
        # Before its first share as well, a rollout under way is what is to be stopped.
        canary += [r.version for r in last if r.is_live(self._clock())]
        if canary and canary[0] != current.stable:
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
        reason = f"rolled back from {left} to {target}"
        self._store.remove_bake(model, target)
        self._bake(model, left, self._spec.bake_seconds)
        for rollout in self._store.rollouts(model):
            if rollout.version == left and rollout.state in ("running", "completed"):
                ended = replace(rollout, state="rolled_back", reasons=(reason,), ended_at=now)
                self._store.put_rollout(ended)
        rollout = Rollout(
            deployment_id, model, target, "completed", now, now, self._previous(model, target)
        )
        degraded = (Trigger.PERFORMANCE_DEGRADED, Trigger.PREVIOUS_VERSION_RESTORED)
        advance(self._registry, model, left, *degraded)
        crown(self._registry, model, target, None)
        self._close(rollout, "completed", Judgement("promote", (reason,)), {})
        return DeploymentResult(target, deployment_id, "rolled_back", reasons=(reason,))

    def log(self, rollout: Rollout) -> RolloutLog:
        """The log of a rollout."""
        return RolloutLog(self._store, rollout, self._clock, self._listen)

    def _previous(self, model: str, version: str) -> str | None:
        done = [
            r
            for r in self._store.rollouts(model)
            if r.version == version and r.state == "completed" and r.previous is not None
        ]
        return done[-1].previous if done else None

    def _bake_seconds(self, rollout: Rollout) -> float:
        settings = rollout.plan.settings if rollout.plan else self._spec
        return settings.bake_seconds

    def _bake_logged(self, rollout: Rollout, version: str) -> None:
        """The bake of the version before. One that an earlier controller began goes on."""
        known = {(bake.model, bake.version) for bake in self._store.bakes()}
        log, epoch = self.log(rollout), self._epoch(rollout.model)
        if log.says("effect", "bake"):
            return
        log.record("intent", "bake", epoch, version=version)
        if (rollout.model, version) not in known:
            self._bake(rollout.model, version, self._bake_seconds(rollout))
        deadlines = [b.deadline for b in self._store.bakes() if b.version == version]
        log.record("effect", "bake", epoch, version=version, until=max(deadlines, default=0.0))
        log.record("intent", "retire", epoch, version=version)  # the edge's keeper does it

    def _bake(self, model: str, version: str, seconds: float) -> None:
        if any((s.model, s.version) == (model, version) for s in self._store.staged()):
            self._store.put_bake(Bake(model, version, self._clock() + seconds))

    def _epoch(self, model: str) -> int:
        split = self._store.split(model)
        return split.epoch if split else 0

    def _close(
        self, rollout: Rollout, state: Ended, judgement: Judgement, metrics: Mapping[str, float]
    ) -> DeploymentResult:
        log = self.log(rollout)
        if not log.says("done", "ended"):  # a controller that was killed here has written it
            detail = {**told(judgement), "state": state, "metrics": dict(metrics)}
            log.record("done", "ended", self._epoch(rollout.model), **detail)
        ended = replace(rollout, state=state, reasons=judgement.reasons, ended_at=self._clock())
        self._store.put_rollout(ended)
        return DeploymentResult(
            rollout.version, rollout.deployment_id, state, dict(metrics), judgement.reasons
        )
