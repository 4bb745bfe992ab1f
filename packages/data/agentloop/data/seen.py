"""Which keys were seen before, over a whole batch, in 8 bytes a key."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from agentloop.data.distinct import Hashes

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class SeenKeys:
    """A set of uint64 keys that grows block by block.

    Sorted runs whose sizes halve, so that a key is merged into a longer run O(log n) times. Runs
    that do not overlap a block are skipped: identifiers that grow cost next to nothing.
    """

    _runs: list[Hashes] = field(default_factory=list)

    def repeated(self, keys: Hashes) -> Mask:
        """bool (rows,): True where a key is in an earlier block, or earlier in this one. The keys
        are then seen."""
        new, first = np.unique(keys, return_index=True)
        known = np.zeros(len(new), bool)
        for run in self._runs:
            if len(new) and run[0] <= new[-1] and new[0] <= run[-1]:
                place = np.minimum(np.searchsorted(run, new), len(run) - 1)
                known |= run[place] == new
        repeated = np.ones(len(keys), bool)
        repeated[first[~known]] = False
        self._add(new[~known])
        return repeated

    def _add(self, run: Hashes) -> None:
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = _merged(self._runs.pop(), run)
        self._runs.append(run)


def _merged(a: Hashes, b: Hashes) -> Hashes:
    """Two sorted runs as one; the stable sort finds that they are runs and merges them."""
    if a[-1] < b[0]:
        return np.concatenate([a, b])
    both = np.concatenate([a, b])
    both.sort(kind="stable")
    return both
