"""A column's distribution in few numbers, with a bound on the error of every rank.

Deterministic merging of weighted samples (Munro and Paterson 1980; Manku, Rajagopalan and Lindsay
1998): a group of sorted values becomes ``GROUP_POINTS`` of them, evenly spaced in rank; sixteen
such summaries become one of ``MERGED_POINTS``, and so on upwards. A group adds at most
1 / (2 · 1024) to the error of a rank and each level 1 / (2 · 4096): below 0.1% up to a billion
rows. KLL (2016) needs less memory, but flips coins: the same rows would not give the same profile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GROUP_POINTS = 1024
MERGED_POINTS = 4096
FAN = 16

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """Sorted ``points`` and how many values each stands for; ``level`` counts its mergers.
    ``exact`` says that they are all the values there were."""

    level: int
    points: Floats
    weights: Ints
    exact: bool


@dataclass(frozen=True, slots=True)
class Ranks:
    """``parts`` in the order in which they came, higher levels first."""

    parts: tuple[Part, ...] = ()

    def merge(self, later: Ranks) -> Ranks:
        parts = [*self.parts, *later.parts]
        parts.sort(key=lambda part: -part.level)
        level = 0
        while any(part.level >= level for part in parts):
            here = [part for part in parts if part.level == level]
            if len(here) >= FAN:
                merged = _compress(_join(here), MERGED_POINTS, level + 1)
                place = parts.index(here[0])
                parts = [part for part in parts if part.level != level]
                parts.insert(place, merged)
            level += 1
        return Ranks(tuple(parts))

    def points(self) -> tuple[Floats, Ints]:
        """Sorted values, or stand-ins for them, and how many each stands for."""
        if not self.parts:
            return np.empty(0), np.empty(0, np.int64)
        joined = _join(list(self.parts))
        return joined.points, joined.weights

    @property
    def exact(self) -> bool:
        return all(part.exact for part in self.parts)

    def quantiles(self, probabilities: tuple[float, ...]) -> Floats:
        """float64 (probabilities,). Linear between neighbours (Hyndman and Fan's type 7) where all
        values are known, as numpy and pandas do; else the value at that rank."""
        points, weights = self.points()
        ends = np.cumsum(weights)
        ranks = np.asarray(probabilities) * (ends[-1] - 1)
        low = points[np.searchsorted(ends, np.floor(ranks), side="right")]
        if not self.exact:
            return low
        high = points[np.searchsorted(ends, np.ceil(ranks), side="right")]
        with np.errstate(over="ignore", invalid="ignore"):
            between = low + (high - low) * (ranks - np.floor(ranks))
        return np.where(np.isfinite(between), between, low)


def rank_group(sorted_values: Floats, keep_all: bool) -> Ranks:
    """The ranks of one group of values: float64 (rows,), finite and sorted. With ``keep_all``
    every different value is kept, however many there are."""
    if not sorted_values.size:
        return Ranks()
    first = np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]])
    if keep_all or int(first.sum()) <= GROUP_POINTS:
        starts = np.flatnonzero(first)
        weights = np.diff(np.append(starts, sorted_values.size)).astype(np.int64)
        return Ranks((Part(0, sorted_values[starts], weights, exact=True),))
    bounds, middles = _shares(sorted_values.size, GROUP_POINTS)
    return Ranks((_thin(sorted_values[middles], np.diff(bounds), 0),))


def _join(parts: list[Part]) -> Part:
    """One part that stands for all of them, every point kept."""
    if len(parts) == 1:
        return parts[0]
    points = np.concatenate([part.points for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    order = np.argsort(points, kind="stable")
    points, weights = points[order], weights[order]
    starts = np.flatnonzero(np.concatenate([[True], points[1:] != points[:-1]]))
    exact = all(part.exact for part in parts)
    return Part(parts[0].level, points[starts], np.add.reduceat(weights, starts), exact)


def _compress(part: Part, size: int, level: int) -> Part:
    """At most ``size`` points, each in the middle of an equal share of the rows."""
    if len(part.points) <= size:
        return Part(level, part.points, part.weights, part.exact)
    bounds, middles = _shares(int(part.weights.sum()), size)
    picked = part.points[np.searchsorted(np.cumsum(part.weights), middles, side="right")]
    return _thin(picked, np.diff(bounds), level)


def _shares(total: int, size: int) -> tuple[Ints, Ints]:
    """int64 (size + 1,) and (size,): where equal shares of ``total`` ranks begin, and the rank in
    the middle of each."""
    bounds = np.arange(size + 1, dtype=np.int64) * total // size
    return bounds, (bounds[:-1] + bounds[1:] - 1) // 2


def _thin(picked: Floats, weights: Ints, level: int) -> Part:
    """Picked points, equal ones made one."""
    starts = np.flatnonzero(np.concatenate([[True], picked[1:] != picked[:-1]]))
    return Part(level, picked[starts], np.add.reduceat(weights, starts), exact=False)
