"""Where serving's intent lives: splits, staged versions, bakes, rollouts. The port and its fake.

Weights live here and not in Serve's configuration, so that nobody who re-submits one can clobber
them. Every split carries an epoch; a store refuses one that is not newer than what it holds.
"""

from __future__ import annotations

from threading import Lock
from typing import Protocol

from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.nouns import (
    Bake,
    EdgeAddress,
    Order,
    Progress,
    Rollout,
    RolloutEvent,
    RolloutState,
    StagedVersion,
    adopt,
    check_epoch,
    check_fence,
    superseded,
)

__all__ = [
    "Bake",
    "ControlStore",
    "EdgeAddress",
    "MemoryControlStore",
    "Order",
    "Progress",
    "Rollout",
    "RolloutEvent",
    "RolloutState",
    "StagedVersion",
    "adopt",
    "check_epoch",
    "check_fence",
    "superseded",
]


class ControlStore(Protocol):
    """All methods are atomic; readers see whole values."""

    def address(self) -> EdgeAddress | None: ...
    def put_address(self, address: EdgeAddress | None) -> None: ...
    def staged(self) -> tuple[StagedVersion, ...]:
        """Every staged version, oldest first."""

    def put_staged(self, staged: StagedVersion) -> None: ...
    def remove_staged(self, model: str, version: str) -> None: ...
    def split(self, model: str) -> TrafficSplit | None: ...
    def splits(self) -> tuple[TrafficSplit, ...]: ...
    def put_split(self, split: TrafficSplit) -> None:
        """Raises StaleEpoch unless the epoch is newer than the stored one."""

    def bakes(self) -> tuple[Bake, ...]: ...
    def put_bake(self, bake: Bake) -> None: ...
    def remove_bake(self, model: str, version: str) -> None: ...
    def claim(self, rollout: Rollout, now: float) -> Rollout:
        """Start ``rollout``, or take over an unfinished one of the same version (its
        ``deployment_id`` and ``previous`` stay, its ``fence`` grows). Raises RolloutConflict while
        another version's rollout is live; one that is not, ends here."""

    def put_rollout(self, rollout: Rollout) -> None:
        """Raises RolloutOvertaken, by ``check_fence``."""

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        """Oldest first."""

    def order(self, model: str) -> Order | None: ...
    def put_order(self, order: Order) -> None: ...
    def remove_order(self, model: str) -> None: ...
    def progress(self, model: str) -> Progress | None: ...
    def put_progress(self, progress: Progress) -> None: ...
    def record(self, event: RolloutEvent) -> None: ...
    def events(self, model: str) -> tuple[RolloutEvent, ...]: ...


class MemoryControlStore:
    """A store for one process; the same behaviour as every other one."""

    def __init__(self) -> None:
        self._address: EdgeAddress | None = None
        self._staged: dict[tuple[str, str], StagedVersion] = {}
        self._splits: dict[str, TrafficSplit] = {}
        self._bakes: dict[tuple[str, str], Bake] = {}
        self._rollouts: dict[str, Rollout] = {}
        self._orders: dict[str, Order] = {}
        self._progress: dict[str, Progress] = {}
        self._events: list[RolloutEvent] = []
        self._lock = Lock()

    def address(self) -> EdgeAddress | None:
        return self._address

    def put_address(self, address: EdgeAddress | None) -> None:
        self._address = address

    def staged(self) -> tuple[StagedVersion, ...]:
        return tuple(self._staged.values())

    def put_staged(self, staged: StagedVersion) -> None:
        self._staged[staged.model, staged.version] = staged

    def remove_staged(self, model: str, version: str) -> None:
        self._staged.pop((model, version), None)

    def split(self, model: str) -> TrafficSplit | None:
        return self._splits.get(model)

    def splits(self) -> tuple[TrafficSplit, ...]:
        return tuple(self._splits.values())

    def put_split(self, split: TrafficSplit) -> None:
        with self._lock:
            check_epoch(self._splits.get(split.model), split)
            self._splits[split.model] = split

    def bakes(self) -> tuple[Bake, ...]:
        return tuple(self._bakes.values())

    def put_bake(self, bake: Bake) -> None:
        self._bakes[bake.model, bake.version] = bake

    def remove_bake(self, model: str, version: str) -> None:
        self._bakes.pop((model, version), None)

    def claim(self, rollout: Rollout, now: float) -> Rollout:
        with self._lock:
            past = self.rollouts(rollout.model)
            last = past[-1] if past else None
            claimed = adopt(last, rollout, now)
            if (ended := superseded(last, claimed, now)) is not None:
                self._rollouts[ended.deployment_id] = ended
            self._rollouts[claimed.deployment_id] = claimed
            return claimed

    def put_rollout(self, rollout: Rollout) -> None:
        with self._lock:
            check_fence(self._rollouts.get(rollout.deployment_id), rollout)
            self._rollouts[rollout.deployment_id] = rollout

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        return tuple(r for r in self._rollouts.values() if r.model == model)

    def order(self, model: str) -> Order | None:
        return self._orders.get(model)

    def put_order(self, order: Order) -> None:
        self._orders[order.model] = order

    def remove_order(self, model: str) -> None:
        self._orders.pop(model, None)

    def progress(self, model: str) -> Progress | None:
        return self._progress.get(model)

    def put_progress(self, progress: Progress) -> None:
        self._progress[progress.model] = progress

    def record(self, event: RolloutEvent) -> None:
        self._events.append(event)

    def events(self, model: str) -> tuple[RolloutEvent, ...]:
        return tuple(event for event in self._events if event.model == model)
