"""Which metrics are out of line with their own past, or past a limit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agentloop.contracts.monitoring import DriftReport

MIN_HISTORY = 20
MAX_DEVIATIONS = 6.0
# Scales the median absolute deviation to a standard deviation of normal data.
MAD_TO_SIGMA = 1.4826
LIMITS: Mapping[str, float] = {
    "cpu_used_share": 0.98,
    "memory_used_share": 0.95,
    "disk_used_share": 0.95,
    "error_rate": 0.05,
}


def find_anomalies(
    metrics: Mapping[str, float],
    history: Mapping[str, Sequence[float]],
    drift: Sequence[DriftReport],
) -> tuple[str, ...]:
    """One sentence an anomaly: past a limit, more than six robust deviations off, or drifted.

    ``history`` holds each metric's earlier values, oldest first, without the present one.
    """
    found = [
        f"{name} is {metrics[name]:.3g}, over its limit of {limit:g}"
        for name, limit in LIMITS.items()
        if metrics.get(name, 0.0) > limit
    ]
    found += [sentence for name in metrics if (sentence := _unusual(name, metrics, history))]
    found += [
        f"{r.model} {r.model_version}: {reason}" for r in drift if r.alarm for reason in r.reasons
    ]
    return tuple(found)


def _unusual(
    name: str, metrics: Mapping[str, float], history: Mapping[str, Sequence[float]]
) -> str | None:
    past = np.asarray(history.get(name, ()), np.float64)
    if len(past) < MIN_HISTORY:
        return None
    middle = float(np.median(past))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(past - middle)))
    # A metric that never moved has no spread; a hundredth of its size is then a change.
    spread = max(spread, 0.01 * abs(middle), 1e-9)
    deviations = (metrics[name] - middle) / spread
    if abs(deviations) <= MAX_DEVIATIONS:
        return None
    return f"{name} is {metrics[name]:.3g}, usually {middle:.3g} ({deviations:+.0f} deviations)"
