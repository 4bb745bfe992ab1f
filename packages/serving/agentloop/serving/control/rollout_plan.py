"""A rollout as data: what would be done, in order, without doing it.

``rollout plan`` prints a plan, ``rollout apply`` executes it; it travels as JSON between the two,
and lies in the control store while it is under way, so that another process can go on with it.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

from agentloop.contracts.errors import PlanOutdated
from agentloop.contracts.spec import RolloutSpec
from agentloop.contracts.traffic import TrafficSplit


@dataclass(frozen=True, slots=True)
class Provision:
    """Start the version's replicas at weight 0."""

    version: str
    kind: Literal["provision"] = "provision"


@dataclass(frozen=True, slots=True)
class Probe:
    """Smoke-test the version by its private route."""

    version: str
    kind: Literal["probe"] = "probe"


@dataclass(frozen=True, slots=True)
class Shadow:
    """Send the version a copy of ``percent`` of the stable one's requests, answer nobody with it,
    and wait for the judge."""

    version: str
    percent: float
    max_seconds: float
    kind: Literal["shadow"] = "shadow"


@dataclass(frozen=True, slots=True)
class Shift:
    """Give the version ``percent`` of the traffic (of the sessions) and wait for the judge."""

    version: str
    percent: float
    min_seconds: float
    max_seconds: float
    by_session: bool = False
    kind: Literal["shift"] = "shift"


@dataclass(frozen=True, slots=True)
class Promote:
    """Make the version the stable one: no lease holds it there any more."""

    version: str
    kind: Literal["promote"] = "promote"


@dataclass(frozen=True, slots=True)
class Bake:
    """Keep the old version warm at weight 0."""

    version: str
    seconds: float
    kind: Literal["bake"] = "bake"


@dataclass(frozen=True, slots=True)
class Retire:
    """Stop the old version's replicas."""

    version: str
    kind: Literal["retire"] = "retire"


PlanStage = Provision | Probe | Shadow | Shift | Promote | Bake | Retire


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """How ``version`` takes over from ``stable`` (None: it is the model's first).

    ``settings`` are what the judge holds it to; without stages it is at 100% already.
    """

    model: str
    version: str
    stable: str | None
    stages: tuple[PlanStage, ...]
    settings: RolloutSpec

    @property
    def strategy(self) -> str:
        return self.settings.strategy

    def check(self, current: TrafficSplit | None) -> None:
        """Raises PlanOutdated if another version has become stable since the plan was made."""
        stable = current.stable if current else None
        if stable not in (self.stable, self.version):
            was, now = self.stable or "nothing", stable or "nothing"
            reason = f"it was made while {was} was stable, and now {now} is"
            raise PlanOutdated(self.model, reason)


def plan_rollout(
    current: TrafficSplit | None, model: str, version: str, spec: RolloutSpec
) -> RolloutPlan:
    """The plan that brings ``version`` to 100% of ``model``, seen from ``current``."""
    stable = current.stable if current else None
    return RolloutPlan(model, version, stable, plan_stages(current, version, spec), spec)


def plan_stages(
    current: TrafficSplit | None, target: str, spec: RolloutSpec
) -> tuple[PlanStage, ...]:
    """The stages that bring ``target`` to 100%; empty if it is there and settled.

    A model's first version has nobody to be compared with and goes straight to 100%. An
    interrupted rollout of the same version goes on at the step it had reached.
    """
    if current is None:
        return Provision(target), Probe(target), Promote(target)
    if is_settled(current, target):
        return ()
    old = current.stable
    stages = (
        Provision(target),
        Probe(target),
        *_shadow(target, spec),
        *_shifts(target, spec),
        Promote(target),
        Bake(old, spec.bake_seconds),
        Retire(old),
    )
    return remaining(stages, current, target, ())


def remaining(
    stages: tuple[PlanStage, ...],
    current: TrafficSplit | None,
    target: str,
    done: Container[str],
) -> tuple[PlanStage, ...]:
    """The stages that are still to do, by what is in force and what the log says is ``done``.

    Provisioning stays, for it keeps what runs; a share that was lost with its lease is given again.
    """
    reached = 0.0
    if current is not None and current.lease_until is not None:
        reached = current.weights.get(target, 0.0)
    settled = current is not None and is_settled(current, target)

    def is_left(stage: PlanStage) -> bool:
        match stage:
            case Probe() | Shadow():
                return not settled and reached == 0 and label(stage) not in done
            case Shift(percent=percent):
                return not settled and percent >= reached
            case Promote():
                return not settled
            case _:
                return True

    return tuple(stage for stage in stages if is_left(stage))


def is_settled(current: TrafficSplit, version: str) -> bool:
    """Whether the version has all traffic, for good."""
    return current.stable == version and current.weights.get(version, 0.0) >= 100


def label(stage: PlanStage) -> str:
    """The stage's name in the log, unique within a plan: ``probe``, ``shift 5%``."""
    match stage:
        case Shadow(percent=percent) | Shift(percent=percent):
            return f"{stage.kind} {percent:g}%"
        case _:
            return stage.kind


def describe(stage: PlanStage) -> str:
    """The stage in words."""
    match stage:
        case Provision(version=version):
            return f"start {version} at weight 0, beside what serves now"
        case Probe():
            return "smoke tests by its private route"
        case Shadow(percent=percent):
            return f"a copy of {percent:g}% of requests goes to it; its answers reach nobody"
        case Shift(percent=percent, by_session=True):
            return f"{percent:g}% of the sessions (x-session-id), until the judge decides"
        case Shift(percent=percent):
            return f"{percent:g}% of the traffic, until the judge decides"
        case Promote(version=version):
            return f"{version} becomes the stable version"
        case Bake(version=version, seconds=seconds):
            return f"{version} stays warm for {seconds:g} s"
        case Retire(version=version):
            return f"the replicas of {version} are stopped"


def held_to(spec: RolloutSpec) -> tuple[str, ...]:
    """What the judge holds a version to, a sentence each."""
    claims = [f"errors: at most {spec.max_error_rate:.2%}, and no more than its share"]
    if spec.latency_budget_ms is not None:
        budget = f"at most {spec.max_slow_rate:.2%} take over {spec.latency_budget_ms:g} ms"
        claims.append(f"latency: {budget}")
    if spec.max_disagreement is not None:
        claims.append(f"shadow: at most {spec.max_disagreement:.2%} of its answers differ")
    if spec.max_prediction_shift is not None:
        shift = f"their distribution moves by at most {spec.max_prediction_shift:.2%}"
        claims.append(f"predictions: {shift}")
    if spec.max_accuracy_loss is not None:
        claims.append(f"labels, as they come: at most {spec.max_accuracy_loss:.2%} less accurate")
    return tuple(claims)


def _shadow(target: str, spec: RolloutSpec) -> tuple[PlanStage, ...]:
    """Under ``shadow`` all requests are copied unless the spec says how many."""
    percent = spec.shadow_percent or (100.0 if spec.strategy == "shadow" else 0.0)
    return (Shadow(target, percent, spec.max_wait_seconds),) if percent else ()


def _shifts(target: str, spec: RolloutSpec) -> tuple[PlanStage, ...]:
    return tuple(
        Shift(
            target,
            percent,
            spec.step_seconds,
            spec.max_wait_seconds,
            by_session=spec.strategy == "ab" and percent < 100,
        )
        for percent in spec.percents
    )
