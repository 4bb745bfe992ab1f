"""Which keys were seen before, over a whole batch: 8 bytes a key (16 of a key of 128 bits), next to
nothing for identifiers that count up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from agentloop.data.distinct import Hashes

Mask = npt.NDArray[np.bool_]
MAX_SPANS = 64


@dataclass(slots=True)
class SeenKeys:
    """A set of keys, uint64 (rows,) or (rows, 2), that grows block by block.

    Sorted runs whose sizes halve, so that a key is merged into a longer run O(log n) times. Runs
    that do not overlap a block are skipped, and a block whose keys have no gap is kept as its ends.
    """

    _runs: list[Hashes] = field(default_factory=list)
    _spans: list[tuple[int, int]] = field(default_factory=list)

    def repeated(self, keys: Hashes) -> Mask:
        """bool (rows,): True where a key is in an earlier block, or earlier in this one. The keys
        are then seen."""
        if not len(keys):
            return np.zeros(0, bool)
        keys = keys.reshape(len(keys), -1)
        new, first = _distinct(keys)
        known = np.zeros(len(new), bool)
        for low, high in self._spans:
            known |= (new[:, 0] >= np.uint64(low)) & (new[:, 0] <= np.uint64(high))
        for run in self._runs:
            if run[0, 0] <= new[-1, 0] and new[0, 0] <= run[-1, 0]:
                place = np.minimum(np.searchsorted(run[:, 0], new[:, 0]), len(run) - 1)
                known |= (run[place] == new).all(axis=1)
        repeated = np.ones(len(keys), bool)
        repeated[first[~known]] = False
        self._add(new[~known])
        return repeated

    def _add(self, run: Hashes) -> None:
        if not len(run) or self._extends(run):
            return
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = _merged(self._runs.pop(), run)
        self._runs.append(run)

    def _extends(self, run: Hashes) -> bool:
        """Whether the run could be kept as its ends, joined to those next to it."""
        low, high = int(run[0, 0]), int(run[-1, 0])
        if run.shape[1] != 1 or high - low + 1 != len(run):
            return False
        apart = []
        for span in self._spans:
            if span[1] + 1 == low or high + 1 == span[0]:
                low, high = min(low, span[0]), max(high, span[1])
            else:
                apart.append(span)
        if len(apart) >= MAX_SPANS:
            return False
        self._spans = [*apart, (low, high)]
        return True


def _distinct(keys: Hashes) -> tuple[Hashes, npt.NDArray[np.intp]]:
    """The different keys, sorted by their first word, and where each is seen first.

    Keys that share a first word and nothing else are kept apart as long as they are neighbours; a
    repeat may then be missed, but no row is ever taken for another.
    """
    order = np.argsort(keys[:, 0], kind="stable")
    ordered = keys[order]
    first = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    return ordered[first], order[first]


def _merged(a: Hashes, b: Hashes) -> Hashes:
    """Two sorted runs as one; the stable sort finds that they are runs and merges them."""
    both = np.concatenate([a, b])
    if a[-1, 0] < b[0, 0]:
        return both
    if both.shape[1] == 1:
        both.sort(axis=0, kind="stable")
        return both
    return both[np.argsort(both[:, 0], kind="stable")]
