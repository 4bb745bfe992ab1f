"""The nouns of the control store, and the rules by which one may follow another: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agentloop.contracts.errors import RolloutConflict, RolloutOvertaken, StaleEpoch
from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.rollout_plan import RolloutPlan

RolloutState = Literal["running", "completed", "held", "rolled_back", "aborted", "failed"]


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
    """One deployment. It is alive while ``state`` is running and ``lease_until`` is ahead.

    ``fence`` grows with every controller that takes it over: the word of an older one is refused.
    """

    deployment_id: str
    model: str
    version: str
    state: RolloutState
    started_at: float
    lease_until: float
    previous: str | None = None
    reasons: tuple[str, ...] = ()
    plan: RolloutPlan | None = None
    fence: int = 1
    ended_at: float | None = None

    def is_live(self, now: float) -> bool:
        return self.state == "running" and self.lease_until > now


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """One line of a rollout's log: what was intended, took effect, or is done.

    ``epoch`` is the split's that was in force then; 0 before there was one.
    """

    at: float
    model: str
    deployment_id: str
    kind: Literal["intent", "effect", "done"]
    action: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants of the rollout under way. No order: it goes on."""

    model: str
    deployment_id: str
    wish: Literal["pause", "abort"]
    at: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rollout is and what the judge says, written over several times a second.

    ``since`` is when the stage began, ``numbers`` are the judge's.
    """

    model: str
    deployment_id: str
    at: float
    stage: str
    since: float
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EdgeAddress:
    """Where the serving plane listens. ``serve_port`` is Serve's own proxy, behind the edge."""

    host: str
    port: int
    serve_port: int
    tls: bool = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


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
            plan=asked.plan,
            fence=active.fence + 1,
        )
    if active.is_live(now):
        raise RolloutConflict(asked.model, active.version, asked.version)
    return asked


def superseded(active: Rollout | None, claimed: Rollout, now: float) -> Rollout | None:
    """How a rollout ends whose controller died and whose model went on with ``claimed``."""
    if active is None or active.state != "running":
        return None
    if active.deployment_id == claimed.deployment_id:
        return None
    reason = f"its controller was gone; {claimed.version} was rolled out instead"
    return replace(active, state="failed", reasons=(reason,), ended_at=now)


def check_fence(current: Rollout | None, offered: Rollout) -> None:
    """Raises RolloutOvertaken for the word of an older controller, and for one that would have an
    ended rollout run again."""
    if current is None:
        return
    if offered.fence < current.fence:
        raise RolloutOvertaken(offered.model, offered.version, "another controller goes on with it")
    if current.state != "running" and offered.state == "running":
        raise RolloutOvertaken(offered.model, offered.version, f"it is {current.state}")


def check_epoch(current: TrafficSplit | None, offered: TrafficSplit) -> None:
    """Raises StaleEpoch unless ``offered`` is newer."""
    if current is not None and offered.epoch <= current.epoch:
        raise StaleEpoch(offered.model, offered.epoch, current.epoch)
