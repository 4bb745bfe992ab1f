"""How far two profiles of a column are apart, from what profiles keep of its values."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from agentloop.contracts.data import ColumnProfile


@dataclass(frozen=True, slots=True)
class ShapeDistance:
    """Total variation, and Jensen-Shannon distance (base 2; Endres and Schindelin 2003); both in
    [0, 1], 0 for equal shares."""

    total_variation: float
    jensen_shannon: float


def shape_distance(before: ColumnProfile, after: ColumnProfile) -> ShapeDistance | None:
    """Between the values, nulls aside; None where one of them has none, or they have no common
    order. Numbers are put into intervals around both profiles' quantiles; of other values the
    most frequent are compared one by one, and the rest as one."""
    if not before.count or not after.count:
        return None
    if before.quantiles and after.quantiles:
        at = sorted({*before.quantiles.values(), *after.quantiles.values()})
        between = [low + (high - low) / 2 for low, high in pairwise(at)]
        # At a quantile that many values are equal to, and between those of a long tail, a profile
        # is vague about shares; both only add to the distance.
        found = [_distance(_masses(before, cuts), _masses(after, cuts)) for cuts in (at, between)]
        return min(found, key=lambda distance: distance.total_variation)
    if before.top and after.top:
        listed = sorted({text for text, _ in (*before.top, *after.top)})
        return _distance(_shares(before, listed), _shares(after, listed))
    return None


def _distance(p: Sequence[float], q: Sequence[float]) -> ShapeDistance:
    variation = sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    divergence = (_divergence(p, middle) + _divergence(q, middle)) / 2
    return ShapeDistance(min(variation, 1.0), math.sqrt(min(max(divergence, 0.0), 1.0)))


def _divergence(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def _shares(column: ColumnProfile, listed: Sequence[str]) -> list[float]:
    """Of each listed value, and of all others."""
    counts = dict(column.top)
    shares = [counts.get(text, 0) / column.count for text in listed]
    return [*shares, max(0.0, 1 - sum(shares))]


def _masses(column: ColumnProfile, cuts: Sequence[float]) -> list[float]:
    """The share of values at or below the first cut, between each two, and above the last."""
    knots = _knots(column)
    below = [_at_most(knots, cut) for cut in cuts]
    bounds = [0.0, *below, 1.0]
    return [max(0.0, high - low) for low, high in pairwise(bounds)]


def _knots(column: ColumnProfile) -> list[tuple[float, float]]:
    """Points (value, share of values at most that) of the distribution, in order. Quantiles give
    some; the histogram's edges give more, in the flanks and around single values."""
    knots = [(value, float(probability)) for probability, value in column.quantiles.items()]
    if column.histogram is not None:
        edges, counts = column.histogram
        total, seen = sum(counts) or 1, 0
        for edge, count in zip(edges[1:], counts, strict=True):
            seen += count
            knots.append((edge, seen / total))
    if column.minimum is not None and column.maximum is not None:
        knots += [(column.minimum, 0.0), (column.maximum, 1.0)]
    knots.sort()
    highest, rising = 0.0, []
    for value, share in knots:  # two sources may disagree in the last digits
        highest = max(highest, share)
        rising.append((value, highest))
    return rising


def _at_most(knots: Sequence[tuple[float, float]], value: float) -> float:
    """The share of values at most ``value``: the highest knot there, or between two."""
    end = bisect_right(knots, (value, math.inf))
    if end == 0:
        return 0.0
    if end == len(knots):
        return 1.0
    (low, share), (high, next_share) = knots[end - 1], knots[end]
    if low == value:
        return share
    return share + (next_share - share) * (value - low) / (high - low)
