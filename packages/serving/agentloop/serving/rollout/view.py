"""What a rollout was, is and will do, read from the control store: no cluster, no side effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agentloop.contracts.errors import NoRollout
from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.rollout_plan import Bake, PlanStage, Retire, describe, label
from agentloop.serving.control.store import (
    ControlStore,
    Progress,
    Rollout,
    RolloutEvent,
    RolloutState,
)
from agentloop.serving.rollout.orders import wish_of

StageState = Literal["done", "current", "waiting", "failed"]


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage of the plan. ``at`` is when it began; the judge's word on it where it gave one."""

    name: str
    text: str
    state: StageState
    at: float | None = None
    seconds: float | None = None
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RolloutView:
    """One rollout. ``weights`` (percent) and ``epoch`` are of the split in force now, the
    ``shares`` are the version's percent of the traffic from each moment (Unix seconds) on.

    ``is_live``: its controller renews the lease, for ``lease_seconds`` more.
    """

    model: str
    version: str
    previous: str | None
    deployment_id: str
    strategy: str
    state: RolloutState
    is_live: bool
    is_paused: bool
    started_at: float
    ended_at: float | None
    lease_seconds: float
    weights: Mapping[str, float]
    epoch: int
    shadow: str | None
    stages: tuple[StageView, ...]
    shares: tuple[tuple[float, float], ...]
    verdict: str
    reasons: tuple[str, ...]
    numbers: Mapping[str, float]
    events: tuple[RolloutEvent, ...]

    @property
    def headline(self) -> str:
        """How it stands, in words."""
        if self.state != "running":
            return self.state.replace("_", " ")
        if not self.is_live:
            return "stopped: its controller is gone"
        return "paused" if self.is_paused else "running"


def view_rollout(store: ControlStore, model: str, now: float) -> RolloutView:
    """The model's last rollout. Raises NoRollout before the first."""
    views = view_history(store, model, now)
    if not views:
        raise NoRollout(model, "there has been none", next_step="agentloop rollout apply")
    return views[-1]


def view_history(store: ControlStore, model: str, now: float) -> tuple[RolloutView, ...]:
    """Every rollout of the model, oldest first."""
    split, progress = store.split(model), store.progress(model)
    by_id: dict[str, list[RolloutEvent]] = {}
    for event in store.events(model):
        by_id.setdefault(event.deployment_id, []).append(event)
    edge = by_id.get("", [])
    return tuple(
        _view(store, rollout, split, progress, by_id.get(rollout.deployment_id, []), edge, now)
        for rollout in store.rollouts(model)
    )


def _view(
    store: ControlStore,
    rollout: Rollout,
    split: TrafficSplit | None,
    progress: Progress | None,
    events: Sequence[RolloutEvent],
    edge: Sequence[RolloutEvent],
    now: float,
) -> RolloutView:
    if progress is None or progress.deployment_id != rollout.deployment_id:
        progress = Progress(rollout.model, rollout.deployment_id, 0.0, "", 0.0)
    running = rollout.state == "running"
    by_edge = _meanwhile(edge, rollout, now)
    stages = tuple(
        _stage(stage, events, progress, running, edge)
        for stage in (rollout.plan.stages if rollout.plan else ())
    )
    # The last word of the judge, also while a stage is under way that it has no say in.
    judged = [stage for stage in stages if stage.numbers][-1:]
    return RolloutView(
        rollout.model,
        rollout.version,
        rollout.previous,
        rollout.deployment_id,
        rollout.plan.strategy if rollout.plan else "",
        rollout.state,
        rollout.is_live(now),
        running and wish_of(store, rollout) == "pause",
        rollout.started_at,
        rollout.ended_at,
        max(0.0, rollout.lease_until - now) if running else 0.0,
        dict(split.weights) if split else {},
        split.epoch if split else 0,
        split.shadow if split else None,
        stages,
        _shares(events, by_edge),
        judged[0].verdict if judged else progress.verdict,
        rollout.reasons or (judged[0].reasons if judged else progress.reasons),
        judged[0].numbers if judged else progress.numbers,
        tuple(sorted((*events, *by_edge), key=lambda event: event.at)),
    )


def _stage(
    stage: PlanStage,
    events: Sequence[RolloutEvent],
    progress: Progress,
    running: bool,
    edge: Sequence[RolloutEvent],
) -> StageView:
    name = label(stage)
    mine = [event for event in events if event.action == name]
    began = [event.at for event in mine if event.kind == "intent"]
    done = [event for event in mine if event.kind == "done"]
    at = began[-1] if began else None
    if done and (at is None or done[-1].at >= at):
        detail: Mapping[str, Any] = done[-1].detail
        verdict = str(detail.get("verdict", ""))
        state: StageState = "done" if verdict in ("", "promote") else "failed"
        seconds = done[-1].at - at if at is not None else None
        reasons, numbers = tuple(detail.get("reasons", ())), dict(detail.get("numbers", {}))
        return StageView(name, describe(stage), state, at, seconds, verdict, reasons, numbers)
    if at is None:
        return StageView(name, describe(stage), "waiting")
    if isinstance(stage, Bake | Retire):  # the edge's keeper ends these, after the rollout
        retired = [
            event.at
            for event in edge
            if event.action == "retired"
            and event.detail.get("version") == stage.version
            and event.at >= at
        ]
        if not retired:
            return StageView(name, describe(stage), "current", at)
        return StageView(name, describe(stage), "done", at, retired[0] - at)
    if running and progress.stage == name:
        return StageView(
            name,
            describe(stage),
            "current",
            at,
            max(0.0, progress.at - progress.since),
            progress.verdict,
            progress.reasons,
            progress.numbers,
        )
    return StageView(name, describe(stage), "current" if running else "failed", at)


def _meanwhile(edge: Sequence[RolloutEvent], rollout: Rollout, now: float) -> list[RolloutEvent]:
    """What the edge's keeper did of its own during the rollout, and what it retired by it later."""
    end = now if rollout.ended_at is None else rollout.ended_at
    return [
        event
        for event in edge
        if rollout.started_at <= event.at <= end
        or (event.at > end and event.action == "retired" and _is_of(event, rollout))
    ]


def _is_of(event: RolloutEvent, rollout: Rollout) -> bool:
    return rollout.state == "completed" and event.detail.get("version") == rollout.previous


def _shares(
    events: Sequence[RolloutEvent], by_edge: Sequence[RolloutEvent]
) -> tuple[tuple[float, float], ...]:
    """The version's share from each moment on, by the effects in the log."""
    points = []
    for event in sorted((*events, *by_edge), key=lambda event: event.at):
        if event.kind == "effect" and event.action.startswith("shift "):
            points.append((event.at, float(event.action.removeprefix("shift ").rstrip("%"))))
        elif event.kind == "effect" and event.action in ("rollback", "abort"):
            points.append((event.at, 0.0))
        elif event.kind == "effect" and event.action == "promote":
            points.append((event.at, 100.0))
        elif event.action.startswith("lease expired"):
            points.append((event.at, 0.0))
    return tuple(points)
