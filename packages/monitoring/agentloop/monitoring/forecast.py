"""Predict when a resource runs out, with a confidence. Pure.

The trend is the Theil–Sen estimate (Sen 1968): the median of slopes between pairs of samples, which
up to 29% of outliers cannot move. The confidence is the share of those slopes by which the limit is
reached within the horizon, so a flat but noisy series stays near or below one half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agentloop.contracts.monitoring import DriftReport, Forecast

MIN_SAMPLES = 5
MAX_SAMPLES = 200
# Neighbouring samples give slopes that are all noise; pairs span at least this part of the window.
MIN_SPAN = 0.3


@dataclass(frozen=True, slots=True)
class Resource:
    """A metric that must stay below ``limit`` (same unit)."""

    metric: str
    limit: float
    issue: str


RESOURCES = (
    Resource("disk_used_share", 0.95, "disk full"),
    Resource("memory_used_share", 0.95, "memory exhausted"),
)


def forecast_saturation(
    resource: Resource,
    times: Sequence[float],
    values: Sequence[float],
    horizon_seconds: float,
) -> Forecast | None:
    """When ``resource`` reaches its limit, if that may be within the horizon.

    ``times`` (n,) in seconds, rising; ``values`` (n,). None with fewer than five samples, or where
    no slope leads there.
    """
    if len(values) and values[-1] >= resource.limit:
        return Forecast(resource.issue, 1.0, 0.0, _sentence(resource, values[-1], 0.0))
    t = np.asarray(times[-MAX_SAMPLES:], np.float64)
    v = np.asarray(values[-MAX_SAMPLES:], np.float64)
    if len(t) < MIN_SAMPLES or t[-1] <= t[0]:
        return None
    first, second = np.triu_indices(len(t), 1)
    apart = t[second] - t[first]
    kept = apart >= MIN_SPAN * (t[-1] - t[0])
    slopes = (v[second] - v[first])[kept] / apart[kept]
    level = float(np.median(v[-MIN_SAMPLES:]))
    needed = (resource.limit - level) / horizon_seconds
    confidence = float((slopes >= needed).mean())
    slope = float(np.median(slopes))
    if not confidence:
        return None
    in_seconds = max(0.0, (resource.limit - level) / slope) if slope > 0 else None
    return Forecast(resource.issue, confidence, in_seconds, _sentence(resource, level, in_seconds))


def forecast_drift(report: DriftReport) -> Forecast | None:
    """A standing drift alarm as a predicted loss of accuracy; None without one.

    The alarm is wrong once in 30 days on average, so the confidence is high but not 1.
    """
    if not report.alarm:
        return None
    reason = "; ".join(report.reasons)
    message = f"{report.model} {report.model_version} may lose accuracy: {reason}"
    return Forecast(f"drift:{report.model}", 0.95, None, message)


def forecasts(
    history: Mapping[str, Sequence[tuple[float, float]]],
    drift: Sequence[DriftReport],
    horizon_seconds: float,
) -> tuple[Forecast, ...]:
    """Every predicted issue, the most confident first; ``history`` holds (time, value) a metric."""
    found = [forecast_drift(report) for report in drift]
    for resource in RESOURCES:
        samples = history.get(resource.metric, ())
        times, values = [t for t, _ in samples], [v for _, v in samples]
        found.append(forecast_saturation(resource, times, values, horizon_seconds))
    return tuple(sorted((f for f in found if f), key=lambda f: -f.confidence))


def _sentence(resource: Resource, level: float, in_seconds: float | None) -> str:
    when = "has no clear trend" if in_seconds is None else f"is there in {in_seconds / 3600:.1f} h"
    if in_seconds == 0.0:
        when = "is there now"
    return f"{resource.metric} is {level:.1%}, its limit {resource.limit:.0%}: it {when}"
