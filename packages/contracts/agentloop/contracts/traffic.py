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
class ShadowCounts:
    """How a version answered copies of requests beside the version that answered the client.

    ``compared`` requests were answered by both, ``disagreed`` is the sum of the shares of their
    rows that differed; ``failed`` got a 5xx or no answer in time, ``dropped`` were never sent.
    """

    compared: int = 0
    disagreed: float = 0.0
    failed: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class VersionEvidence:
    """What a version's replicas counted themselves; it grows until the edge's actor restarts.

    ``latency`` holds answers by bucket k, which took (2^((k-1)/8), 2^(k/8)] ms. ``predictions``
    are live requests by predicted class or bin, each spread over its rows; ``shadows`` is by the
    version that was sent the copies. ``right`` of ``labelled`` predictions were true.
    """

    answers: int = 0
    failures: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)
    predictions: Mapping[str, float] = field(default_factory=dict)
    shadows: Mapping[str, ShadowCounts] = field(default_factory=dict)
    labelled: float = 0.0
    right: float = 0.0


@dataclass(frozen=True, slots=True)
class VersionTraffic:
    """What the edge counted for one version since it was staged.

    ``requests`` and ``errors`` are of first tries, so a request that no version can answer is not
    also held against the one that was asked in the second place; ``rescued`` of the errors were
    asked again of another version. ``dealt`` requests were dealt in turn by weight, second tries
    included, and ``dealt_errors`` of them failed at the first; sessions are in neither. None: the
    edge cannot tell.
    """

    version: str
    weight: float
    requests: int
    errors: int
    rescued: int = 0
    ready: bool = False
    mean_ms: float | None = None
    dealt: int | None = None
    dealt_errors: int = 0
    evidence: VersionEvidence = VersionEvidence()
