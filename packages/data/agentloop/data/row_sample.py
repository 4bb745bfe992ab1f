"""A sample of rows that does not depend on how they were cut into blocks.

Each row has a priority, a hash of its position, and the rows with the lowest priorities are kept
(bottom-k sampling; Cohen and Kaplan 2007). Merging is exact: the sample of all blocks is the one
that a single block would have given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentloop.data.distinct import Hashes, hash_words

SAMPLE_ROWS = 65_536

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RowSample:
    """``values`` float64 (n,) and their ``priorities`` uint64 (n,), n up to ``SAMPLE_ROWS``,
    ordered by priority."""

    values: Floats
    priorities: Hashes

    def merge(self, other: RowSample) -> RowSample:
        return _lowest(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.priorities, other.priorities]),
        )

    def quantiles(self, probabilities: tuple[float, ...]) -> tuple[float, ...] | None:
        """Of all values while they fit the sample; beyond, within 1% of the rank asked for (five
        standard errors). Linear between neighbours. None without values."""
        if not self.values.size:
            return None
        return tuple(float(q) for q in np.quantile(self.values, probabilities))


def sample_rows(values: Floats, positions: npt.NDArray[np.int64]) -> RowSample:
    """``values`` float64 (rows,), finite, and the ``positions`` int64 (rows,) of their rows among
    all rows of the batch."""
    return _lowest(values, hash_words(positions.astype(np.uint64)))


def _lowest(values: Floats, priorities: Hashes) -> RowSample:
    if len(values) > SAMPLE_ROWS:
        kept = np.argpartition(priorities, SAMPLE_ROWS - 1)[:SAMPLE_ROWS]
        values, priorities = values[kept], priorities[kept]
    # Hashes of positions are a permutation of them, so no two rows tie.
    order = np.argsort(priorities)
    return RowSample(values[order], priorities[order])
