"""The bets of the drift alarm: what each statistic of a column wins or loses a row. Pure.

A statistic s in [0, 1] has mean μ0 under the reference. Betting the share λ that it lies above
pays 1 + λ(s − μ0 − ε) a row, and below 1 + λ(μ0 − s − ε); while the mean stays within ε of μ0
neither grows on average (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by
betting", arXiv 2010.09686). All statistics are functions of a row's bin, so a block of rows needs
its bin counts alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.reference import ColumnReference

SHARES = (0.25, 0.8, 1.8)
MIN_TOLERANCE = 0.005
REFERENCE_ERRORS = 4.0
SEASON_MARGIN = 1.1
# A bet never stakes all: one row may cost it at most this part of its wealth.
MAX_LOSS = 0.95

Floats = npt.NDArray[np.float64]


class Statistic(NamedTuple):
    """``values`` (bins,) in [0, 1]; bins where ``counts_in`` is False take no part."""

    group: str
    values: Floats
    counts_in: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ColumnBets:
    """``log_factors`` (bets, bins): log pay of one row there; ``weights`` (bets,) sum to 1."""

    log_factors: Floats
    weights: Floats


def column_bets(column: ColumnReference, season: float = 0.0) -> ColumnBets:
    """All bets on one column.

    ``season`` is the largest deviation of a statistic's mean that a daily or weekly cycle is known
    to cause; ε = max(0.005, 4 standard errors of the reference, 1.1·season).
    """
    reference = np.asarray(column.counts, np.float64)
    rows: list[Floats] = []
    groups: list[str] = []
    for statistic in _statistics(column, reference):
        for factors in _factors(statistic, reference, season):
            rows.append(np.where(statistic.counts_in, np.log(factors), 0.0))
            groups.append(statistic.group)
    if not rows:
        return ColumnBets(np.zeros((1, column.bins)), np.ones(1))
    return ColumnBets(np.stack(rows), _weights(groups))


def _statistics(column: ColumnReference, reference: Floats) -> Iterator[Statistic]:
    """Rank and spread of a number's bin, and one indicator a bin (null and unseen included)."""
    everywhere = np.ones(column.bins, bool)
    if column.kind != "categorical":
        known = everywhere.copy()
        known[-1] = False  # the last bin is null: it has no rank
        seen = reference[:-1].sum()
        if seen:
            share = reference[:-1] / seen
            rank = np.append(np.cumsum(share) - share / 2, 0.5)
            yield Statistic("location", rank, known)
            yield Statistic("scale", np.abs(2 * rank - 1), known)
    for index in range(column.bins):
        yield Statistic("bin", np.eye(1, column.bins, index)[0], everywhere)


def _factors(statistic: Statistic, reference: Floats, season: float) -> Iterator[Floats]:
    counted = np.where(statistic.counts_in, reference, 0.0)
    rows = counted.sum()
    if not rows:
        return
    mean = float((counted * statistic.values).sum() / rows)
    variance = float((counted * (statistic.values - mean) ** 2).sum() / rows)
    # A bin that training never saw has no measured variance; add-one keeps it honest.
    least = (rows * mean + 1) / (rows + 2) * (1 - (rows * mean + 1) / (rows + 2))
    error = math.sqrt((max(variance, least) if statistic.group == "bin" else variance) / rows)
    tolerance = max(MIN_TOLERANCE, REFERENCE_ERRORS * error, SEASON_MARGIN * season)
    for direction, floor in ((1.0, mean), (-1.0, 1 - mean)):
        if 1 - floor <= tolerance:
            continue  # the bet could not win even if every row went its way
        for share in SHARES:
            stake = min(share, MAX_LOSS / (floor + tolerance))
            yield 1 + stake * (direction * (statistic.values - mean) - tolerance)


def _weights(groups: list[str]) -> Floats:
    """Half of the stake on the bins, the rest on location and scale; equal within each."""
    stake = {"location": 0.25, "scale": 0.25, "bin": 0.5}
    raw = np.array([stake[group] / groups.count(group) for group in groups])
    weights: Floats = raw / raw.sum()
    return weights
