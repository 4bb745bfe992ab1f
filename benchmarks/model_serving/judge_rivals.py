"""What rollouts are judged by elsewhere, asked again every thousand requests.

- **threshold**: roll back when the canary's error rate over the last thousand requests is over
  1.5 times the stable version's.
- **Mann-Whitney**: roll back when the canary's requests of this step rank worse (failed or not)
  than the stable version's with p < 0.01, as automated canary analysis does with its metrics. On
  two values the test is one of two proportions, with the variance corrected for ties.
"""

from __future__ import annotations

import numpy as np
from judge_fast import so_far
from judge_worlds import Flags, Floats, Traffic

EVERY = 1000
FACTOR = 1.5
Z = 2.3263478740408408  # p < 0.01, one-sided


def threshold_alarms(traffic: Traffic) -> Flags:
    """(rollouts, looks): whether the rule would roll back at each thousandth request."""
    counts = _windows(traffic)
    with np.errstate(invalid="ignore", divide="ignore"):
        canary, stable = counts[1] / counts[0], counts[3] / counts[2]
    alarms: Flags = (counts[1] > 0) & (canary > FACTOR * np.nan_to_num(stable))
    return alarms


def mann_whitney_alarms(traffic: Traffic) -> Flags:
    """As ``threshold_alarms``, on what this step has seen so far."""
    windows = _windows(traffic)
    steps = traffic.weights[EVERY - 1 :: EVERY][: windows[0].shape[1]]
    alarms = np.zeros(windows[0].shape, bool)
    for weight in np.unique(steps):
        here = steps == weight
        n1, k1, n2, k2 = (so_far(w[:, here]) for w in windows)  # type: ignore[arg-type]
        alarms[:, here] = _z(n1, k1, n2, k2) > Z
    return alarms


def _z(n1: Floats, k1: Floats, n2: Floats, k2: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        total = n1 + n2
        pooled = (k1 + k2) / total
        variance = pooled * (1 - pooled) * (1 / n1 + 1 / n2) * total / np.maximum(total - 1, 1)
        z: Floats = np.nan_to_num((k1 / n1 - k2 / n2) / np.sqrt(variance), posinf=0.0, neginf=0.0)
    return z


def _windows(traffic: Traffic) -> list[Floats]:
    """Requests and errors of the canary and of stable, (rollouts, looks) each."""
    looks = traffic.canary.shape[1] // EVERY
    parts = (
        traffic.canary,
        traffic.canary & traffic.error,
        ~traffic.canary,
        ~traffic.canary & traffic.error,
    )
    return [
        part[:, : looks * EVERY].reshape(part.shape[0], looks, EVERY).sum(2).astype(float)
        for part in parts
    ]
