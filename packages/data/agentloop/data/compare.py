"""A batch against the dataset's accepted history. It warns unless data.checks.policy says more.

What is normal is learnt from the history: a measure is told when it leaves its fixed tolerance
around the history's median, and also three times the history's own spread. A fixed tolerance alone
cries wolf on every source that varies by nature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from agentloop.contracts.data import ColumnProfile, DataProfile

MAX_VOLUME_RATIO = 2.0
MAX_NULL_SHIFT = 0.1
MAX_DISTINCT_RATIO = 2.0
MIN_DISTINCT = 10
MAX_RANK_SHIFT = 0.2
MAX_SHARE_SHIFT = 0.2
SPREADS = 3.0


@dataclass(frozen=True, slots=True)
class Change:
    """Something about a batch that its history would not have led one to expect."""

    check: str
    column: str | None
    count: int
    message: str


def compare_profiles(profile: DataProfile, history: tuple[DataProfile, ...]) -> Iterator[Change]:
    """``history``: profiles of the accepted batches, newest first. Nothing is told without one."""
    past = tuple(p for p in history if p.rows)
    if not past or not profile.rows:
        return
    usual = median(p.rows for p in past)
    ratio = profile.rows / usual
    widest = max(MAX_VOLUME_RATIO, *(max(p.rows / usual, usual / p.rows) for p in past))
    if not 1 / widest <= ratio <= widest:
        message = f"{profile.rows:,} rows, where {_batches(past)} had {usual:,.0f}"
        yield Change("volume", None, profile.rows, message)
    for column in profile.columns:
        then = tuple(c for p in past for c in p.columns if c.name == column.name)
        if then:
            yield from _compare_column(column, then)


def _compare_column(now: ColumnProfile, past: tuple[ColumnProfile, ...]) -> Iterator[Change]:
    usual = median(c.null_rate for c in past)
    if _is_new(now, past, lambda a, b: abs(a.null_rate - b.null_rate), MAX_NULL_SHIFT):
        message = f"'{now.name}' has {now.null_rate:.0%} nulls, where {_batches(past)} had "
        yield Change("null_rate", now.name, now.nulls, f"{message}{usual:.0%}")
    yield from _compare_distinct(now, past)
    if now.kind == "datetime":
        return  # time goes on
    if now.quantiles and all(c.quantiles for c in past):
        shift = min(_rank_shift(now, c) for c in past)
        if _is_new(now, past, _rank_shift, MAX_RANK_SHIFT):
            message = (
                f"the distribution of '{now.name}' moved by {shift:.0%} of the rows (median "
                f"{now.quantiles['0.5']:.4g}, where {_batches(past)} had "
                f"{median(c.quantiles['0.5'] for c in past):.4g})"
            )
            yield Change("distribution", now.name, now.count, message)
    elif now.kind in ("category", "boolean") and now.count and all(c.count and c.top for c in past):
        distance = min(_share_distance(now, c) for c in past)
        if _is_new(now, past, _share_distance, MAX_SHARE_SHIFT):
            message = f"the shares of '{now.name}' moved by {distance:.0%} from {_batches(past)}"
            yield Change("distribution", now.name, now.count, message)


def _compare_distinct(now: ColumnProfile, past: tuple[ColumnProfile, ...]) -> Iterator[Change]:
    """Only of categories: of other columns the number of values grows with the rows."""
    usual = median(c.distinct for c in past)
    if now.kind != "category" or max(now.distinct, usual) < MIN_DISTINCT:
        return
    widest = max(
        MAX_DISTINCT_RATIO, *(max(c.distinct / usual, usual / max(c.distinct, 1)) for c in past)
    )
    if not usual / widest <= now.distinct <= usual * widest:
        message = (
            f"'{now.name}' has {now.distinct:,} different values, where {_batches(past)} had "
            f"{usual:,.0f}"
        )
        yield Change("distinct", now.name, now.distinct, message)


def _is_new(
    now: ColumnProfile,
    past: tuple[ColumnProfile, ...],
    distance: Callable[[ColumnProfile, ColumnProfile], float],
    tolerance: float,
) -> bool:
    """Whether ``now`` is farther from every accepted batch than ``tolerance``, and than three times
    what neighbours in the history are from one another."""
    spread = median([distance(a, b) for a, b in pairwise(past)] or [0.0])
    # Distances end at 1: of a wide spread, half of what is left of the way is far enough.
    limit = max(tolerance, min(SPREADS * spread, (1 + spread) / 2))
    return all(distance(now, c) > limit for c in past)


def _rank_shift(now: ColumnProfile, then: ColumnProfile) -> float:
    """The largest |F_then(q) − p| over the batch's quantiles: a Kolmogorov–Smirnov distance as far
    as seven quantiles show it, in [0, 1]. Flat stretches (many equal values) count as no shift."""
    worst = 0.0
    points = sorted((float(p), value) for p, value in then.quantiles.items())
    for text, value in now.quantiles.items():
        low, high = _rank_range(points, value, then)
        p = float(text)
        worst = max(worst, low - p, p - high)
    return worst


def _rank_range(
    points: list[tuple[float, float]], value: float, then: ColumnProfile
) -> tuple[float, float]:
    """The lowest and the highest rank that ``value`` can have had, in [0, 1]."""
    ends = [(0.0, then.minimum), *points, (1.0, then.maximum)]
    known = [(p, v) for p, v in ends if v is not None]
    equal = [p for p, v in known if v == value]
    below = [(p, v) for p, v in known if v < value]
    above = [(p, v) for p, v in known if v > value]
    if equal:  # many values may be equal to it: it has all ranks up to its neighbours'
        return (below[-1][0] if below else 0.0, above[0][0] if above else 1.0)
    if not below:
        return (0.0, 0.0)
    if not above:
        return (1.0, 1.0)
    (p0, v0), (p1, v1) = below[-1], above[0]
    rank = p0 + (p1 - p0) * (value - v0) / (v1 - v0)
    return (rank, rank)


def _share_distance(now: ColumnProfile, then: ColumnProfile) -> float:
    """Total variation distance, in [0, 1], over the values that both profiles list."""
    p = {text: count / now.count for text, count in now.top}
    q = {text: count / then.count for text, count in then.top}
    listed = sum(abs(p.get(text, 0.0) - q.get(text, 0.0)) for text in {*p, *q})
    rest = abs((1 - sum(p.values())) - (1 - sum(q.values())))
    return (listed + rest) / 2


def _batches(past: tuple[object, ...]) -> str:
    return "the last batch" if len(past) == 1 else f"the last {len(past)} batches"
