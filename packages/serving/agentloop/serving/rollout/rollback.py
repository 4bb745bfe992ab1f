"""Give a model's traffic back to the version before, by somebody's word.

Logged as intent and effect before and after the split moves, so that a rollback that was killed is
finished by the next one: it must not go back by another version.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from agentloop.contracts.errors import DeploymentError, StaleEpoch
from agentloop.contracts.traffic import DeploymentResult
from agentloop.serving.control.store import Order, Rollout
from agentloop.serving.rollout.deployment_kit import DeploymentKit
from agentloop.serving.rollout.notice import Notice
from agentloop.serving.rollout.split_writer import SplitWriter


@dataclass(frozen=True, slots=True)
class _Way:
    """From which version to which, and under which id that is written down."""

    deployment_id: str
    left: str
    target: str


class Rollback:
    """One rollback of one model."""

    def __init__(self, kit: DeploymentKit, writer: SplitWriter, model: str) -> None:
        self._kit = kit
        self._writer = writer
        self._model = model

    async def run(self) -> DeploymentResult:
        """Raises ModelNotServed, ArtifactUnverified, DeploymentError."""
        kit, model = self._kit, self._model
        way = self._unfinished() or _Way(
            kit.new_id(), *kit.end.rollback_target(self._writer.current, model)
        )
        log = kit.end.log(self._noun(way))
        await self._warm(way.target)
        log.record("intent", "rollback", self._writer.epoch, left=way.left, target=way.target)
        await asyncio.to_thread(self._stop_rollout, way.left)
        await asyncio.to_thread(self._settle, way.target)
        log.record("effect", "rollback", self._writer.epoch)
        trouble = await asyncio.to_thread(kit.health, model, way.target)
        line = await asyncio.to_thread(self._tell, way, trouble)
        result = kit.end.rolled_back(way.deployment_id, model, way.left, way.target)
        if trouble:
            raise DeploymentError(model, way.target, f"after the rollback {trouble}")
        return replace(result, reasons=(*result.reasons, line))

    def _unfinished(self) -> _Way | None:
        """The last rollback, if it was killed after its intent and nobody has moved the traffic
        elsewhere since."""
        intents = [
            event
            for event in self._kit.store.events(self._model)
            if (event.kind, event.action) == ("intent", "rollback") and "target" in event.detail
        ]
        current = self._writer.current
        if not intents or current is None:
            return None
        last = intents[-1]
        known = {rollout.deployment_id for rollout in self._kit.store.rollouts(self._model)}
        left, target = str(last.detail["left"]), str(last.detail["target"])
        if last.deployment_id in known or current.stable not in (left, target):
            return None
        return _Way(last.deployment_id, left, target)

    async def _warm(self, target: str) -> None:
        """Replicas for the version to return to, if it has none that answer."""
        kit, model = self._kit, self._model
        warm = kit.staging.find(model, target)
        ready = await asyncio.to_thread(kit.staging.is_ready, model, target)
        if warm is None or not warm.approved or not ready:
            candidate = await asyncio.to_thread(kit.registry.get, model, target)
            kit.staging.approve(candidate)
            await kit.staging.deploy(candidate)

    def _stop_rollout(self, left: str) -> None:
        """Tell the controller of a rollout under way that it was ended, not robbed."""
        for rollout in self._kit.store.rollouts(self._model):
            if rollout.version == left and rollout.state == "running":
                order = Order(self._model, rollout.deployment_id, "abort", self._kit.clock())
                self._kit.store.put_order(order)

    def _settle(self, target: str) -> None:
        """Give ``target`` everything, against a controller that has not seen the order yet."""
        while True:
            self._writer.take_over()
            try:
                self._writer.settle(target)
                return
            except StaleEpoch:
                continue

    def _tell(self, way: _Way, trouble: str) -> str:
        reasons = (f"rolled back from {way.left} to {way.target}",)
        notice = Notice(
            self._kit.clock(), self._model, way.left, way.target, "rolled_back", reasons, trouble
        )
        return self._kit.notify(self._noun(way), notice)

    def _noun(self, way: _Way) -> Rollout:
        now = self._kit.clock()
        return Rollout(way.deployment_id, self._model, way.target, "running", now, now)
