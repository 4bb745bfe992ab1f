"""What an operator may ask of a rollout from any process: pause, resume, abort.

They write to the control store alone, so they need no cluster: the controller reads a pause, and
an abort takes the traffic away under a newer epoch, which the controller cannot write against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from agentloop.contracts.errors import NoRollout, StaleEpoch
from agentloop.serving.control.rollout_plan import is_settled
from agentloop.serving.control.store import Bake, ControlStore, Order, Rollout
from agentloop.serving.edge.duties import all_on
from agentloop.serving.rollout.log import RolloutLog

Wish = Literal["go", "pause", "abort"]

DEFAULT_BAKE_SECONDS = 60.0


class RolloutOrders:
    """Orders about the rollouts of one store."""

    def __init__(self, store: ControlStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def pause(self, model: str, by: str = "") -> Rollout:
        """Keep the weights as they are; evidence against the version still rolls it back.

        Raises NoRollout, also where the controller is gone: then nothing holds the weights.
        """
        rollout = self._under_way(model)
        if not rollout.is_live(self._clock()):
            raise NoRollout(model, "its controller is gone", next_step=go_on(rollout))
        self._store.put_order(Order(model, rollout.deployment_id, "pause", self._clock(), by))
        self._log(rollout).record("done", "paused", self._epoch(model), by=by)
        return rollout

    def resume(self, model: str, by: str = "") -> Rollout:
        """Go on with a paused rollout. Raises NoRollout."""
        rollout = self._under_way(model)
        if wish_of(self._store, rollout) == "pause":
            self._store.remove_order(model)
            self._log(rollout).record("done", "resumed", self._epoch(model), by=by)
        return rollout

    def abort(self, model: str, by: str = "") -> Rollout:
        """Give all traffic back to the stable version at once and end the rollout.

        May be repeated after a kill. Raises NoRollout, also where the version is stable already.
        """
        rollout = self._under_way(model)
        split = self._store.split(model)
        if split is not None and is_settled(split, rollout.version):
            reason = f"{rollout.version} is the stable version already"
            raise NoRollout(model, reason, next_step=f"agentloop rollback {model}")
        self._store.put_order(Order(model, rollout.deployment_id, "abort", self._clock(), by))
        return self.finish_abort(rollout)

    def finish_abort(self, rollout: Rollout) -> Rollout:
        """Take the traffic away, keep the version warm for a while, write how it ended.

        Whoever ordered it and the rollout's own controller may both do this at once.
        """
        log = self._log(rollout)
        order = self._store.order(rollout.model)
        by = order.by if order is not None else ""
        log.record("intent", "abort", self._epoch(rollout.model), by=by)
        epoch = self._take_traffic(rollout)
        log.record("effect", "abort", epoch)
        self._bake(rollout)
        reason = f"aborted by {by}" if by else "aborted"
        ended = replace(rollout, state="aborted", reasons=(reason,), ended_at=self._clock())
        log.record("done", "ended", epoch, state="aborted", reasons=[reason], metrics={})
        self._store.put_rollout(ended)
        return ended

    def _take_traffic(self, rollout: Rollout) -> int:
        """Give all traffic to stable, against whoever writes meanwhile; the epoch of that."""
        while (split := self._store.split(rollout.model)) is not None:
            if split.stable == rollout.version:
                reason = f"{rollout.version} became stable meanwhile"
                next_step = f"agentloop rollback {rollout.model}"
                raise NoRollout(rollout.model, reason, next_step=next_step)
            try:
                # Also where nothing leaves stable: the newer epoch stops the controller.
                self._store.put_split(all_on(split, split.stable))
                return split.epoch + 1
            except StaleEpoch:
                continue
        return 0

    def _bake(self, rollout: Rollout) -> None:
        staged = {(s.model, s.version) for s in self._store.staged()}
        if (rollout.model, rollout.version) in staged:
            plan = rollout.plan
            seconds = plan.settings.bake_seconds if plan else DEFAULT_BAKE_SECONDS
            self._store.put_bake(Bake(rollout.model, rollout.version, self._clock() + seconds))

    def _under_way(self, model: str) -> Rollout:
        rollouts = self._store.rollouts(model)
        if not rollouts:
            raise NoRollout(model, "there has been none")
        last = rollouts[-1]
        if last.state != "running":
            raise NoRollout(model, f"the last one, of {last.version}, is {last.state}")
        return last

    def _log(self, rollout: Rollout) -> RolloutLog:
        return RolloutLog(self._store, rollout, self._clock)

    def _epoch(self, model: str) -> int:
        split = self._store.split(model)
        return split.epoch if split else 0


def wish_of(store: ControlStore, rollout: Rollout) -> Wish:
    """What is asked of this rollout now."""
    order = store.order(rollout.model)
    if order is None or order.deployment_id != rollout.deployment_id:
        return "go"
    return order.wish


def go_on(rollout: Rollout) -> str:
    """The command that goes on with a rollout whose controller is gone."""
    return f"agentloop rollout apply {rollout.model} {rollout.version}"
