"""A rollout as data: what would be done, in order, without doing it."""

from __future__ import annotations

from dataclasses import dataclass

from agentloop.contracts.spec import RolloutSpec
from agentloop.contracts.traffic import TrafficSplit


@dataclass(frozen=True, slots=True)
class Provision:
    """Start the version's replicas at weight 0."""

    version: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Smoke-test the version by its private route."""

    version: str


@dataclass(frozen=True, slots=True)
class Shift:
    """Give the version ``percent`` of the traffic and wait for the judge."""

    version: str
    percent: float
    min_seconds: float
    max_seconds: float


@dataclass(frozen=True, slots=True)
class Bake:
    """Keep the old version warm at weight 0."""

    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Retire:
    """Stop the old version's replicas."""

    version: str


PlanStage = Provision | Probe | Shift | Bake | Retire


def plan_stages(
    current: TrafficSplit | None, target: str, spec: RolloutSpec
) -> tuple[PlanStage, ...]:
    """The stages that bring ``target`` to 100%; empty if it is there and settled.

    A model's first version has nobody to be compared with and goes straight to 100%. An
    interrupted rollout of the same version goes on at the step it had reached.
    """
    if current is None:
        return Provision(target), Probe(target), Shift(target, 100.0, 0.0, 0.0)
    if current.stable == target and current.weights.get(target, 0.0) >= 100:
        return ()
    reached = current.weights.get(target, 0.0) if current.lease_until is not None else 0.0
    shifts = tuple(
        Shift(target, percent, spec.step_seconds, spec.max_wait_seconds)
        for percent in spec.steps
        if percent >= reached
    )
    old = current.stable
    return (
        Provision(target),
        Probe(target),
        *shifts,
        Bake(old, spec.bake_seconds),
        Retire(old),
    )
