"""Which 128-bit keys were seen before, over a whole batch, in 16 bytes a key."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Run:
    """Different keys, sorted: uint64 (keys,) each. ``widest`` keys at most share a first word."""

    first: Words
    second: Words
    widest: int

    def holds(self, first: Words, second: Words) -> Mask:
        place = np.searchsorted(self.first, first)
        found = np.zeros(len(first), bool)
        for step in range(self.widest):
            at = np.minimum(place + step, len(self.first) - 1)
            found |= (self.first[at] == first) & (self.second[at] == second)
        return found


@dataclass(slots=True)
class SeenPairs:
    """A set of 128-bit keys that grows block by block, as sorted runs whose sizes halve, so that a
    key is merged into a longer run O(log n) times."""

    _runs: list[_Run] = field(default_factory=list)

    def repeated(self, keys: Words) -> Mask:
        """bool (rows,): True where a key (uint64 (rows, 2)) is in an earlier block, or earlier in
        this one. The keys are then seen."""
        if not len(keys):
            return np.zeros(0, bool)
        order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal keys, the first comes first
        first, second = keys[order, 0], keys[order, 1]
        same = np.zeros(len(order), bool)
        same[1:] = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
        for run in self._runs:
            same |= run.holds(first, second)
        self._add(_run(first[~same], second[~same]))
        repeated = np.empty(len(order), bool)
        repeated[order] = same
        return repeated

    def _add(self, run: _Run) -> None:
        if not len(run.first):
            return
        while self._runs and len(self._runs[-1].first) <= 2 * len(run.first):
            run = _merged(self._runs.pop(), run)
        self._runs.append(run)


def _merged(a: _Run, b: _Run) -> _Run:
    first = np.concatenate([a.first, b.first])
    # The stable sort finds that these are two sorted runs and merges them.
    order = np.argsort(first, kind="stable")
    return _run(first[order], np.concatenate([a.second, b.second])[order])


def _run(first: Words, second: Words) -> _Run:
    starts = np.flatnonzero(np.concatenate([[True], first[1:] != first[:-1], [True]]))
    widest = int(np.diff(starts).max()) if len(first) else 0
    return _Run(first, second, widest)
