"""Give a model's traffic back to the version before, by somebody's word."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from agentloop.contracts.errors import DeploymentError, StaleEpoch
from agentloop.contracts.traffic import DeploymentResult
from agentloop.serving.control_store import Order, Rollout
from agentloop.serving.deployment_kit import DeploymentKit
from agentloop.serving.rollout_notice import Notice
from agentloop.serving.split_writer import SplitWriter


class Rollback:
    """One rollback of one model."""

    def __init__(self, kit: DeploymentKit, writer: SplitWriter, model: str) -> None:
        self._kit = kit
        self._writer = writer
        self._model = model

    async def run(self) -> DeploymentResult:
        """Raises ModelNotServed, ArtifactUnverified, DeploymentError."""
        kit, model = self._kit, self._model
        left, target = kit.end.rollback_target(self._writer.current, model)
        await self._warm(target)
        await asyncio.to_thread(self._stop_rollout, left)
        await asyncio.to_thread(self._settle, target)
        trouble = await asyncio.to_thread(kit.health, model, target)
        result = kit.end.rolled_back(kit.new_id(), model, left, target)
        line = await asyncio.to_thread(self._tell, result, left, target, trouble)
        if trouble:
            raise DeploymentError(model, target, f"after the rollback {trouble}")
        return replace(result, reasons=(*result.reasons, line))

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

    def _tell(self, result: DeploymentResult, left: str, target: str, trouble: str) -> str:
        rollout = self._rollout(result.deployment_id)
        now = self._kit.clock()
        notice = Notice(now, self._model, left, target, "rolled_back", result.reasons, trouble)
        return self._kit.notify(rollout, notice)

    def _rollout(self, deployment_id: str) -> Rollout:
        found = self._kit.store.rollouts(self._model)
        return next(r for r in found if r.deployment_id == deployment_id)
