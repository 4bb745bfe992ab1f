"""Nouns of monitoring: drift reports and alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column's score in [0, 1] and whether its evidence has reached the alarm."""

    column: str
    score: float
    evidence: float
    alarm: bool


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Live traffic of one model version against its reference profile.

    ``score`` is the largest column score, in [0, 1]; None below the least number of rows.
    """

    model: str
    model_version: str
    at: str
    rows: int
    score: float | None
    alarm: bool
    columns: tuple[ColumnDrift, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """A predicted issue. ``confidence`` in [0, 1]; above 0.8 preventive action is taken."""

    issue: str
    confidence: float
    in_seconds: float | None
    message: str


@dataclass(frozen=True, slots=True)
class MonitoringReport:
    """What one monitoring cycle saw, predicted and did."""

    at: str
    metrics: Mapping[str, float]
    anomalies: tuple[str, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    actions: tuple[str, ...] = ()
    drift: tuple[DriftReport, ...] = field(default_factory=tuple)
