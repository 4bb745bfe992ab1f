"""Drift scores in [0, 1] from binned counts. Pure."""

from __future__ import annotations

import numpy as np

from agentloop.lifecycle.divergence import jensen_shannon
from agentloop.lifecycle.reference import ColumnReference, Counts

# Just under the limit: the literal rule `score > limit` pages only once the alarm has fired.
QUIET_SHARE = 0.99


def column_score(column: ColumnReference, live: Counts, min_rows: int) -> float | None:
    """Debiased Jensen–Shannon distance (base 2) of ``live`` (bins,) from the reference.

    None on fewer than ``min_rows`` rows: a score on little data is mostly noise.
    """
    if int(live.sum()) < min_rows:
        return None
    return jensen_shannon(np.asarray(column.counts, np.int64), live)


def shown_score(score: float, limit: float, alarm: bool) -> float:
    """The exported score: at most 0.99 × ``limit`` (0.099 of 0.1) until the alarm has fired."""
    return score if alarm else min(score, QUIET_SHARE * limit)
