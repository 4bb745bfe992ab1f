"""Nouns of serving: endpoints, splits, deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DeploymentStatus = Literal["completed", "held", "rolled_back", "aborted", "failed"]


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """Weights in percent (0 to 100, summing to 100) a version, under one model.

    ``epoch`` orders splits: an older epoch is refused. ``stable`` is where traffic returns when the
    lease of ``lease_until`` (Unix seconds; None for a settled split) runs out.

    ``shadow`` names a version that is sent a copy of ``shadow_percent`` of the stable version's
    requests; its answers reach nobody. ``by_session`` keeps a session on its version by splitting
    only requests that carry ``x-session-id``; all others go to stable (an A/B test).
    """

    model: str
    weights: Mapping[str, float]
    stable: str
    epoch: int
    lease_until: float | None = None
    shadow: str | None = None
    shadow_percent: float = 0.0
    by_session: bool = False


@dataclass(frozen=True, slots=True)
class StagedModel:
    """A version that runs at weight 0 and can be reached by its private route alone."""

    model: str
    version: str
    url: str


@dataclass(frozen=True, slots=True)
class DeploymentResult:
    """What ``BlueGreenDeployment.deploy_model`` returns. ``metrics`` are the rollout's evidence."""

    model_version: str
    deployment_id: str
    status: DeploymentStatus
    metrics: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class VersionTraffic:
    """What the edge counted for one version since it was staged."""

    version: str
    weight: float
    requests: int
    errors: int
    rescued: int = 0
    ready: bool = False
    mean_ms: float | None = None
