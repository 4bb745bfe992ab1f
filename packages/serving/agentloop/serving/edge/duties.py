"""What the edge's keeper must do on its own when a moment has passed: a pure decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.store import Bake, StagedVersion


@dataclass(frozen=True, slots=True)
class ReturnToStable:
    """A canary's lease ran out: its controller is dead."""

    split: TrafficSplit


@dataclass(frozen=True, slots=True)
class RetireVersion:
    """A bake ended, or a retirement was interrupted."""

    model: str
    version: str


Duty = ReturnToStable | RetireVersion


def due(
    splits: Sequence[TrafficSplit],
    bakes: Sequence[Bake],
    staged: Sequence[StagedVersion],
    now: float,
) -> tuple[Duty, ...]:
    """The duties at ``now`` (Unix seconds). A version with traffic, or the stable one, stays."""
    duties: list[Duty] = [
        ReturnToStable(all_on(split, split.stable))
        for split in splits
        if split.lease_until is not None and split.lease_until <= now
    ]
    needed = {
        (split.model, version)
        for split in splits
        for version in (*(v for v, weight in split.weights.items() if weight > 0), split.stable)
    }
    ended = {(bake.model, bake.version) for bake in bakes if bake.deadline <= now}
    ended |= {(item.model, item.version) for item in staged if item.retiring}
    duties += [RetireVersion(*key) for key in sorted(ended - needed)]
    return tuple(duties)


def all_on(split: TrafficSplit, version: str) -> TrafficSplit:
    """The settled split after ``split`` that gives ``version`` everything."""
    weights = {**dict.fromkeys(split.weights, 0.0), version: 100.0}
    return TrafficSplit(split.model, weights, version, split.epoch + 1)
