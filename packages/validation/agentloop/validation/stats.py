"""Effects with intervals. Pure; randomness comes in as a generator."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054
DRAWS = 1000
# Above this a mean is as good as normal, and resampling only costs time.
MAX_RESAMPLED = 5000

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, total: int) -> Interval:
    """A proportion with Wilson's score interval (Wilson 1927). ``total`` must be at least 1."""
    p, z2 = successes / total, Z95**2
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half))


def mean_interval(values: Floats, rng: np.random.Generator) -> Interval:
    """The mean of ``values`` (n,), n ≥ 1, with a percentile bootstrap interval (Efron 1979).

    With paired differences as ``values`` this is the paired bootstrap.
    """
    mean, n = float(values.mean()), len(values)
    if n > MAX_RESAMPLED:
        half = Z95 * float(values.std(ddof=1)) / math.sqrt(n)
        return Interval(mean, mean - half, mean + half)
    means = values[rng.integers(0, n, size=(DRAWS, n))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(mean, float(low), float(high))


def r2(truth: Floats, answers: Floats) -> float:
    """The coefficient of determination; 0 where ``truth`` does not vary."""
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1.0 - float(((truth - answers) ** 2).sum()) / spread if spread > 0 else 0.0


def r2_interval(truth: Floats, answers: Floats, rng: np.random.Generator) -> Interval:
    """R² over rows (n,) with a percentile bootstrap interval."""
    zeros = np.full(len(truth), float(truth.mean()))
    whole = r2_difference(truth, answers, zeros, rng)
    return Interval(r2(truth, answers), whole.low, min(1.0, whole.high))


def r2_difference(
    truth: Floats, answers: Floats, others: Floats, rng: np.random.Generator
) -> Interval:
    """R² of ``answers`` less that of ``others`` on the same rows, by the paired bootstrap."""
    rows = len(truth)
    drawn = min(rows, MAX_RESAMPLED)
    differences = np.empty(DRAWS)
    for i in range(DRAWS):
        pick = rng.integers(0, rows, size=drawn)
        differences[i] = r2(truth[pick], answers[pick]) - r2(truth[pick], others[pick])
    value = r2(truth, answers) - r2(truth, others)
    if drawn < rows:  # a subsample of m of n rows spreads √(n/m) times too wide
        differences = value + (differences - differences.mean()) * math.sqrt(drawn / rows)
    low, high = np.quantile(differences, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p that two classifiers err alike (McNemar 1947, exact binomial form).

    ``only_first`` rows that the first alone gets right, ``only_second`` the second alone.
    """
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(k + 1)
    ]
    return min(1.0, 2 * sum(math.exp(log) for log in logs))


def quantile_interval(values: Floats, q: float) -> Interval:
    """The ``q`` quantile of ``values`` (n,), n ≥ 1, between order statistics (David & Nagaraja
    2003, §7.1), which need no assumption on the distribution."""
    ordered = np.sort(values)
    n = len(ordered)
    half = Z95 * math.sqrt(n * q * (1 - q))
    low = ordered[max(0, math.floor(n * q - half) - 1)]
    high = ordered[min(n - 1, math.ceil(n * q + half) - 1)]
    return Interval(float(np.quantile(ordered, q)), float(low), float(high))
