"""Nouns of the loop: events, stage times, the receipt of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LoopEvent:
    """One line of the loop's own log; KPIs are computed from these."""

    at: str
    kind: str
    model: str
    version: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageTime:
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's decision with the sentences it rests on."""

    approved: bool
    reasons: tuple[str, ...]
    recommendations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a run ended: what ``agentloop run --json`` prints."""

    model: str
    data_version: str
    model_version: str
    run_id: str
    metrics: Mapping[str, float]
    decision: Decision
    endpoint: str
    metrics_url: str
    mlflow_uri: str
    dashboard_url: str
    stages: tuple[StageTime, ...]
    changed: bool
    traffic: Mapping[str, float] = field(default_factory=dict)
    report: str = ""
    curl: str = ""
