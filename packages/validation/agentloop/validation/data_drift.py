"""Do the data agree: training with held-out rows, and both with recent traffic? Pure.

A column has drifted if its debiased Jensen–Shannon distance is over the limit *and* beyond what
samples of this size show by chance: the largest standardised distance over all columns is held
against its simulated distribution, so that many columns raise no more false alarms than one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import Check
from agentloop.lifecycle.divergence import jensen_shannon
from agentloop.lifecycle.reference import ColumnReference, ReferenceProfile
from agentloop.validation.candidate import Candidate
from agentloop.validation.stats import Interval
from agentloop.validation.suites import measured, unmeasured

MAX_DISTANCE = 0.1
SIMULATIONS = 200
# The chance, over all columns together, that data without drift are refused. A split never moves,
# so a wrong refusal would stay: what looks suspicious is simulated again, finely enough for it.
ALPHA = 0.001
SUSPICIOUS = 0.02
FINE_SIMULATIONS = 3000

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RecentTraffic:
    """Live counts by column name, in the bins of ``reference`` (the champion's profile)."""

    reference: ReferenceProfile
    counts: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """One column's counts on both sides, in the same bins (bins,)."""

    name: str
    before: Counts
    after: Counts


def data_drift_checks(
    candidate: Candidate,
    reference: ReferenceProfile,
    traffic: RecentTraffic | None,
    rng: np.random.Generator,
) -> Iterator[Check]:
    """``holdout_vs_training`` is judged; ``recent_traffic`` is, too, where there is any."""
    pairs = [
        ColumnPair(c.name, np.asarray(c.counts, np.int64), c.fold(candidate.columns[c.name]))
        for c in reference.columns
    ]
    yield _check("holdout_vs_training", "held-out and training rows", pairs, rng)
    if traffic is None:
        yield unmeasured("recent_traffic", "there was no recent traffic to compare with")
        return
    seen = [c for c in traffic.reference.columns if _comparable(c, candidate, traffic)]
    live = [
        ColumnPair(
            c.name, c.fold(candidate.columns[c.name]), np.asarray(traffic.counts[c.name], np.int64)
        )
        for c in seen
    ]
    yield _check("recent_traffic", "recent traffic and held-out rows", live, rng)


def _comparable(column: ColumnReference, candidate: Candidate, traffic: RecentTraffic) -> bool:
    counts = traffic.counts.get(column.name, ())
    return column.name in candidate.columns and len(counts) == column.bins and sum(counts) > 0


def _check(name: str, sides: str, pairs: Sequence[ColumnPair], rng: np.random.Generator) -> Check:
    if not pairs:
        return unmeasured(name, f"no column of {sides} can be compared", MAX_DISTANCE)
    distances = np.array([jensen_shannon(pair.before, pair.after) for pair in pairs])
    worst = int(distances.argmax())
    value = float(distances[worst])
    surprise = chance_of(pairs, distances, rng, SIMULATIONS)
    if value > MAX_DISTANCE and surprise <= SUSPICIOUS:
        surprise = chance_of(pairs, distances, rng, FINE_SIMULATIONS)
    passed = value <= MAX_DISTANCE or surprise > ALPHA
    rows = int(pairs[worst].after.sum())
    message = (
        f"{sides} differ most in '{pairs[worst].name}': Jensen-Shannon distance {value:.3f}, "
        f"chance of that without drift {surprise:.2g} (refused over {MAX_DISTANCE:g} with a "
        f"chance of at most {ALPHA:g})"
    )
    return measured(name, _spread(pairs[worst], value, rng), rows, MAX_DISTANCE, passed, message)


def chance_of(
    pairs: Sequence[ColumnPair],
    distances: npt.NDArray[np.float64],
    rng: np.random.Generator,
    simulations: int,
) -> float:
    """p of the largest standardised distance if both sides of all columns were alike.

    Each column is simulated from its pooled counts; columns are taken as independent, which is
    the cautious side for a maximum.
    """
    simulated = np.stack([_null_distances(pair, rng, simulations) for pair in pairs])
    centre, spread = simulated.mean(axis=1), simulated.std(axis=1) + 1e-6
    largest = ((simulated - centre[:, None]) / spread[:, None]).max(axis=0)
    seen = float(((distances - centre) / spread).max())
    return float((1 + (largest >= seen).sum()) / (1 + simulations))


def _null_distances(
    pair: ColumnPair, rng: np.random.Generator, simulations: int
) -> npt.NDArray[np.float64]:
    pooled = (pair.before + pair.after).astype(np.float64)
    share = pooled / pooled.sum()
    before = rng.multinomial(int(pair.before.sum()), share, size=simulations)
    after = rng.multinomial(int(pair.after.sum()), share, size=simulations)
    return np.array([jensen_shannon(b, a) for b, a in zip(before, after, strict=True)])


def _spread(pair: ColumnPair, value: float, rng: np.random.Generator) -> Interval:
    """The distance with a parametric bootstrap interval."""
    draws = []
    for _ in range(SIMULATIONS):
        sides = [
            rng.multinomial(int(c.sum()), c / c.sum()) if c.sum() else c
            for c in (pair.before, pair.after)
        ]
        draws.append(jensen_shannon(sides[0], sides[1]))
    low, high = np.quantile(draws, (0.025, 0.975))
    # Resampling adds noise of its own, so the interval is moved back around the value.
    shift = value - float(np.median(draws))
    return Interval(value, max(0.0, float(low) + shift), min(1.0, float(high) + shift))
