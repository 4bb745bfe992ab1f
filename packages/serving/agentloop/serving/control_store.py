"""Where serving's intent lives: splits, staged versions, bakes, rollouts. The port and its fake.

Weights live here and not in Serve's configuration, so that nobody who re-submits one can clobber
them. Every split carries an epoch; a store refuses one that is not newer than what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal, Protocol

from agentloop.contracts.errors import RolloutConflict, StaleEpoch
from agentloop.contracts.traffic import TrafficSplit

RolloutState = Literal["running", "completed", "held", "rolled_back", "failed"]


@dataclass(frozen=True, slots=True)
class StagedVersion:
    """A version that has, or is getting, replicas. ``approved``: a signed report was verified.

    ``retiring`` versions are out of the edge and about to lose their replicas.
    """

    model: str
    version: str
    bundle_path: str
    digest: str
    approved: bool = False
    retiring: bool = False


@dataclass(frozen=True, slots=True)
class Bake:
    """An old version kept warm at weight 0 until ``deadline`` (Unix seconds)."""

    model: str
    version: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """One deployment. It is alive while ``state`` is running and ``lease_until`` is ahead."""

    deployment_id: str
    model: str
    version: str
    state: RolloutState
    started_at: float
    lease_until: float
    previous: str | None = None
    reasons: tuple[str, ...] = ()

    def is_live(self, now: float) -> bool:
        return self.state == "running" and self.lease_until > now


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """One line of a rollout's log: what was intended, took effect, or ended."""

    at: float
    model: str
    deployment_id: str
    kind: Literal["intent", "effect", "done"]
    action: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EdgeAddress:
    """Where the serving plane listens. ``serve_port`` is Serve's own proxy, behind the edge."""

    host: str
    port: int
    serve_port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


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
        ``deployment_id`` and ``previous`` stay). Raises RolloutConflict while another version's
        rollout is live."""

    def put_rollout(self, rollout: Rollout) -> None: ...
    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        """Oldest first."""

    def record(self, event: RolloutEvent) -> None: ...
    def events(self, model: str) -> tuple[RolloutEvent, ...]: ...


def adopt(active: Rollout | None, asked: Rollout, now: float) -> Rollout:
    """What a claim gives while ``active`` is the model's last rollout. Raises RolloutConflict."""
    if active is None or active.state != "running":
        return asked
    if active.version == asked.version:
        return Rollout(
            active.deployment_id,
            active.model,
            active.version,
            "running",
            active.started_at,
            asked.lease_until,
            active.previous,
        )
    if active.is_live(now):
        raise RolloutConflict(asked.model, active.version, asked.version)
    return asked


def check_epoch(current: TrafficSplit | None, offered: TrafficSplit) -> None:
    """Raises StaleEpoch unless ``offered`` is newer."""
    if current is not None and offered.epoch <= current.epoch:
        raise StaleEpoch(offered.model, offered.epoch, current.epoch)


class MemoryControlStore:
    """A store for one process; the same behaviour as every other one."""

    def __init__(self) -> None:
        self._address: EdgeAddress | None = None
        self._staged: dict[tuple[str, str], StagedVersion] = {}
        self._splits: dict[str, TrafficSplit] = {}
        self._bakes: dict[tuple[str, str], Bake] = {}
        self._rollouts: dict[str, Rollout] = {}
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
            claimed = adopt(past[-1] if past else None, rollout, now)
            self._rollouts[claimed.deployment_id] = claimed
            return claimed

    def put_rollout(self, rollout: Rollout) -> None:
        self._rollouts[rollout.deployment_id] = rollout

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        return tuple(r for r in self._rollouts.values() if r.model == model)

    def record(self, event: RolloutEvent) -> None:
        self._events.append(event)

    def events(self, model: str) -> tuple[RolloutEvent, ...]:
        return tuple(event for event in self._events if event.model == model)
