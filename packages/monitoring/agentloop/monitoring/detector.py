"""The drift alarm: a betting e-detector over binned counts. Pure; state in, state out.

Every bet b keeps M_t(b) = (M_{t−1}(b) + 1)·e_t(b), a Shiryaev–Roberts e-detector (Shin, Ramdas &
Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", arXiv
2203.03532). The alarm fires when the mean over columns of Σ_b w_b·M_t(b) reaches c. While nothing
drifts the mean time to a false alarm is then at least c blocks, whatever the number of columns and
however they depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.reference import Counts, ReferenceProfile
from agentloop.monitoring.bets import Floats, column_bets

QUIET_SECONDS = 30 * 86_400
# How far evidence may pass the alarm, so that a drift that ends is also seen to end.
HEADROOM = 10.0
# The alarm clears once the evidence is this small a part of what fired it.
CLEAR_SHARE = 0.01
# Evidence below this is what no drift looks like; the delay is counted from there.
CALM = 100.0


def alarm_threshold(block_seconds: float) -> float:
    """c: the blocks in 30 days, so that a false alarm comes at most once in 30 days on average.

    259,200 for blocks of 10 s.
    """
    return QUIET_SECONDS / block_seconds


@dataclass(frozen=True, slots=True)
class DetectorState:
    """``log_wealth`` (all bets,) is log M_t. ``calm_rows`` is the value of ``rows`` when the
    evidence was last calm; ``delay`` the rows between that moment and the alarm."""

    log_wealth: Floats
    blocks: int = 0
    rows: int = 0
    calm_rows: int = 0
    alarm: bool = False
    delay: int | None = None


class DriftDetector:
    """The fixed part: bets of every column, then of the prediction.

    ``season`` is passed to ``column_bets``. Blocks without rows carry no evidence and no time.
    """

    def __init__(self, profile: ReferenceProfile, threshold: float, season: float = 0.0) -> None:
        columns = (*profile.columns, profile.prediction)
        bets = [column_bets(column, season) for column in columns]
        self.names = tuple(column.name for column in columns)
        self.threshold = threshold
        self._width = max(column.bins for column in columns)
        self._owner = np.concatenate([np.full(len(b.weights), i) for i, b in enumerate(bets)])
        self._factors = np.concatenate(
            [
                np.pad(b.log_factors, ((0, 0), (0, self._width - b.log_factors.shape[1])))
                for b in bets
            ]
        )
        self._log_weights = np.log(np.concatenate([b.weights for b in bets]))
        limit = math.log(HEADROOM * threshold * len(columns))
        self._cap: Floats = limit - self._log_weights

    def start(self) -> DetectorState:
        return DetectorState(np.full(len(self._owner), -np.inf))

    def step(self, state: DetectorState, counts: Sequence[Counts]) -> DetectorState:
        """The state after one block; ``counts`` holds (bins,) a column, in the order of ``names``.

        A column with no rows in the block keeps its wealth.
        """
        block = np.zeros((len(self.names), self._width))
        for row, column in zip(block, counts, strict=True):
            row[: len(column)] = column
        rows = int(block[-1].sum())
        if not block.any():
            return state
        gain = (self._factors * block[self._owner]).sum(axis=1)
        seen = (block.sum(axis=1) > 0)[self._owner]
        grown = np.logaddexp(state.log_wealth, 0.0) + gain
        wealth = np.minimum(np.where(seen, grown, state.log_wealth), self._cap)
        return self._judge(
            replace(state, log_wealth=wealth, blocks=state.blocks + 1, rows=state.rows + rows)
        )

    def evidence(self, state: DetectorState) -> Floats:
        """(columns,): Σ_b w_b·M_t(b) of each column. Their mean is held against ``threshold``."""
        wealth = np.exp(state.log_wealth + self._log_weights)
        evidence: Floats = np.bincount(
            self._owner, weights=wealth, minlength=len(self.names)
        ).astype(np.float64)
        return evidence

    def alarmed_columns(self, state: DetectorState) -> npt.NDArray[np.bool_]:
        """(columns,): which columns carry a standing alarm: those past c, or else the largest."""
        evidence = self.evidence(state)
        past = evidence >= self.threshold
        if not past.any():
            past[int(evidence.argmax())] = True
        return past & state.alarm

    def _judge(self, state: DetectorState) -> DetectorState:
        evidence = float(self.evidence(state).mean())
        if evidence < CALM:
            state = replace(state, calm_rows=state.rows)
        if state.alarm:
            cleared = evidence < CLEAR_SHARE * self.threshold
            return replace(state, alarm=False, delay=None) if cleared else state
        if evidence >= self.threshold:
            return replace(state, alarm=True, delay=state.rows - state.calm_rows)
        return state
