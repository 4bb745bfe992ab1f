"""Run one rollout from its claim to its end, and go on where an earlier controller was killed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

from agentloop.contracts.errors import (
    ArtifactUnverified,
    DeploymentError,
    NoRollout,
    RolloutOvertaken,
    StaleEpoch,
)
from agentloop.contracts.models import ModelVersion
from agentloop.contracts.traffic import DeploymentResult, StagedModel, TrafficSplit
from agentloop.serving.control.rollout_plan import RolloutPlan, is_settled
from agentloop.serving.control.store import Rollout
from agentloop.serving.judging.decision import Judgement
from agentloop.serving.rollout.canary import Canary
from agentloop.serving.rollout.deployment_kit import DeploymentKit
from agentloop.serving.rollout.lease_keeper import LEASE_SECONDS, LeaseKeeper
from agentloop.serving.rollout.log import RolloutLog
from agentloop.serving.rollout.notice import Notice
from agentloop.serving.rollout.orders import RolloutOrders, wish_of
from agentloop.serving.rollout.runner import RolloutRunner, Steps
from agentloop.serving.rollout.split_writer import SplitWriter

# How often a rollout begins again after the edge took its traffic for want of a renewed lease.
STARTS = 3


class ControlledSteps(Steps, Protocol):
    """A deployment's named steps, with what a controller needs besides those of the plan."""

    async def rollback_deployment(self, green: StagedModel) -> TrafficSplit: ...
    def metrics(self) -> dict[str, float]: ...


class RolloutController:
    """One rollout's controller. Whoever claims the rollout after it takes its say away."""

    def __init__(
        self, kit: DeploymentKit, steps: ControlledSteps, plan: RolloutPlan, writer: SplitWriter
    ) -> None:
        self._kit = kit
        self._steps = steps
        self._plan = plan
        self._writer = writer
        self._rollout: Rollout | None = None
        self._log: RolloutLog | None = None
        self._keeper: LeaseKeeper | None = None

    async def run(self, mv: ModelVersion) -> DeploymentResult:
        """Raises PlanOutdated, ArtifactUnverified, RolloutConflict, RolloutOvertaken,
        DeploymentError."""
        plan, current = self._plan, self._writer.current
        plan.check(current)
        if current is not None and is_settled(current, plan.version):
            return await self._confirm(mv)
        await asyncio.to_thread(self._kit.staging.verify, mv)
        await asyncio.to_thread(self._claim)
        self._kit.staging.approve(mv)
        started = self._kit.clock()
        try:
            judgement = await self._run(mv)
        except RolloutOvertaken as error:
            return await asyncio.to_thread(self._overtaken, error)
        except Exception as error:
            raise await self._failed(error) from error
        metrics = {**self._steps.metrics(), "seconds": self._kit.clock() - started}
        if judgement.verdict == "promote":
            return self._kit.end.completed(self._claimed(), judgement, metrics)
        return await self._abandoned(judgement, metrics)

    def canary(self, green: StagedModel, bodies: Sequence[bytes]) -> Canary:
        """The rollout's hand and eye, which obeys orders and keeps the lease alive."""
        return self._kit.canary(
            green,
            bodies,
            self._writer,
            self._plan.settings,
            lambda: wish_of(self._kit.store, self._claimed()),
            self._moved,
            self._logged().judged,
            self._logged().evidence(),
        )

    def took_effect(self, action: str) -> None:
        """Log that a stage's effect is in force."""
        self._logged().record("effect", action, self._writer.epoch)

    # --- a claim and what is done under it -------------------------------------------------------

    def _claim(self) -> None:
        kit, plan, now = self._kit, self._plan, self._kit.clock()
        asked = Rollout(
            kit.new_id(),
            plan.model,
            plan.version,
            "running",
            now,
            now + LEASE_SECONDS,
            plan.stable if plan.stable != plan.version else None,
            plan=plan,
        )
        self._rollout = kit.store.claim(asked, now)
        # From here on an earlier controller of this rollout can write neither weights nor lease.
        self._writer.take_over()
        self._log = kit.end.log(self._rollout)
        kinds = [stage.kind for stage in plan.stages]
        self._log.record("intent", "deploy", self._writer.epoch, strategy=plan.strategy, plan=kinds)

    async def _run(self, mv: ModelVersion) -> Judgement:
        """The stages, and the way back where the judge did not promote. Raises RolloutOvertaken
        when somebody else has decided."""
        for _ in range(STARTS):
            try:
                with LeaseKeeper(self._renew, self._kit.clock) as self._keeper:
                    log, paused = self._logged(), self._is_paused
                    runner = RolloutRunner(self._steps, self._plan, self._writer, log, paused)
                    judgement = await runner.run(mv)
                    if judgement.verdict != "promote":
                        log.record("intent", "rollback", self._writer.epoch)
                        await self._steps.rollback_deployment(runner.green)
                    return judgement
            except StaleEpoch as error:
                await asyncio.to_thread(self._go_on_after, error)
            finally:
                self._keeper = None
        raise RolloutOvertaken(self._plan.model, self._plan.version, "its lease ended again")

    def _go_on_after(self, error: StaleEpoch) -> None:
        """Take the split over again if only the edge moved it, for want of a renewed lease.
        Raises RolloutOvertaken if somebody did."""
        mine = self._claimed()
        last = self._last()
        if last.fence != mine.fence:
            reason = "another controller goes on with it"
            raise RolloutOvertaken(mine.model, mine.version, reason) from error
        if wish_of(self._kit.store, mine) == "abort" or last.state != "running":
            raise RolloutOvertaken(mine.model, mine.version, "somebody ended it") from error
        split = self._writer.take_over()
        if split is not None and split.stable not in (mine.previous, mine.version):
            reason = f"{split.stable} became stable"
            raise RolloutOvertaken(mine.model, mine.version, reason) from error
        self._logged().record("done", "lease lost: begun again", self._writer.epoch)

    def _renew(self, moving: bool) -> None:
        until = self._kit.clock() + LEASE_SECONDS
        self._kit.store.put_rollout(replace(self._claimed(), lease_until=until))
        if moving:
            self._writer.renew(until)

    def _moved(self) -> None:
        if self._keeper is not None:
            self._keeper.moved()

    def _is_paused(self) -> bool:
        self._moved()
        wish = wish_of(self._kit.store, self._claimed())
        if wish == "abort":
            raise RolloutOvertaken(self._plan.model, self._plan.version, "it was aborted")
        return wish == "pause"

    # --- how it ends -----------------------------------------------------------------------------

    async def _confirm(self, mv: ModelVersion) -> DeploymentResult:
        """The result for a version at 100%: finish what a kill left undone, revive replicas that
        went with their cluster."""
        if not await asyncio.to_thread(self._kit.staging.is_ready, mv.model, mv.version):
            await self._kit.staging.deploy(mv)
        return self._kit.end.confirmed(mv, Judgement("promote", ("it is at 100% already",)))

    async def _abandoned(self, judgement: Judgement, metrics: dict[str, float]) -> DeploymentResult:
        """Traffic is back on stable: see that it answers, write it down, tell people."""
        rollout, stable = self._claimed(), self._writer.stable
        trouble = await asyncio.to_thread(self._kit.health, rollout.model, stable)
        result = self._kit.end.abandoned(rollout, judgement, metrics)
        status: Literal["rolled_back", "held"] = (
            "rolled_back" if judgement.verdict == "rollback" else "held"
        )
        notice = self._notice(status, judgement.reasons, trouble)
        line = await asyncio.to_thread(self._kit.notify, rollout, notice)
        return replace(result, reasons=(*result.reasons, line))

    async def _failed(self, error: Exception) -> Exception:
        """Give back what traffic it has and end it; the error to raise."""
        rollout, writer = self._claimed(), self._writer
        try:
            if writer.current is not None and writer.current.lease_until is not None:
                await asyncio.to_thread(writer.settle, writer.stable)
            await asyncio.to_thread(self._kit.end.failed, rollout, str(error))
        except (StaleEpoch, RolloutOvertaken):
            return error  # a newer controller, or an order, has decided: touch nothing
        notice = self._notice("failed", (str(error)[:500],), "")
        await asyncio.to_thread(self._kit.notify, rollout, notice)
        if isinstance(error, (DeploymentError, ArtifactUnverified)):
            return error
        reason = f"{type(error).__name__}: {error}"
        return DeploymentError(rollout.model, rollout.version, reason)

    def _overtaken(self, error: RolloutOvertaken) -> DeploymentResult:
        """The outcome that somebody else decided on. Raises ``error`` where that is not known: a
        newer controller goes on with the rollout."""
        rollout = self._claimed()
        last = self._last()
        if last.state == "running" and wish_of(self._kit.store, rollout) == "abort":
            try:
                last = RolloutOrders(self._kit.store, self._kit.clock).finish_abort(last)
            except NoRollout:
                raise error from None
        if last.state == "running" or last.fence != rollout.fence:
            raise error
        metrics = self._steps.metrics()
        return DeploymentResult(last.version, last.deployment_id, last.state, metrics, last.reasons)

    def _notice(
        self,
        status: Literal["rolled_back", "held", "failed"],
        reasons: tuple[str, ...],
        trouble: str,
    ) -> Notice:
        current = self._writer.current
        stable = current.stable if current is not None else ""
        at, plan = self._kit.clock(), self._plan
        return Notice(at, plan.model, plan.version, stable, status, reasons, trouble)

    def _last(self) -> Rollout:
        mine = self._claimed()
        found = self._kit.store.rollouts(mine.model)
        return next(r for r in found if r.deployment_id == mine.deployment_id)

    def _claimed(self) -> Rollout:
        assert self._rollout is not None
        return self._rollout

    def _logged(self) -> RolloutLog:
        assert self._log is not None
        return self._log
