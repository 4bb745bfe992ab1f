"""Two rates compared block by block, whatever they do from block to block. Pure.

A block holds ``n`` trials of each of two versions, k of them events. Within a block a version's
trials share one rate; between blocks both may change as they like (a daily cycle), as long as the
null hypothesis "the first rate is at most ``margin`` above the second" holds in each.

For alternatives (a, b) chosen before the block is seen, the e-value of a block is the likelihood
ratio of (a, b) against the nearest point (a°, b°) of the null hypothesis, the one that minimises
n₁·KL(a‖a°) + n₂·KL(b‖b°): Turner, Ly & Grünwald, "Generic E-variables for exact sequential
k-sample tests that allow for optional stopping", arXiv 2106.02693. The logarithm of its expectation
is concave in the true rates, 0 at the nearest point, and there, by the condition for a minimum over
a convex set, slopes down into the null hypothesis: it is at most 0 on all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from agentloop.serving.judging.e_values import log_mean_exp

# An alternative is the estimate from the blocks before, and one half as far from the null.
_BOLDNESS = (1.0, 0.5)
_STEPS = 30


@dataclass(frozen=True, slots=True)
class RateBlock:
    """Trials and events of two versions in one block. Shares of a trial count as such."""

    first_trials: float
    first_events: float
    second_trials: float
    second_events: float


def rate_exceeds(blocks: Iterable[RateBlock], margin: float) -> float:
    """The log of the e-process against "the first rate is at most ``margin`` above the second"."""
    process = RateProcess(margin)
    for block in blocks:
        process.add(block)
    return process.log_e


class RateProcess:
    """The e-process as its blocks come in; bets only on what earlier blocks have shown."""

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._logs = [0.0] * len(_BOLDNESS)
        self._past = [0.0, 0.0, 0.0, 0.0]

    @property
    def log_e(self) -> float:
        return log_mean_exp(self._logs)

    def add(self, block: RateBlock) -> None:
        past = self._past
        self.bet(block, _estimate(past[0], past[1]), _estimate(past[2], past[3]))
        past[0] += block.first_trials
        past[1] += block.first_events
        past[2] += block.second_trials
        past[3] += block.second_events

    def bet(self, block: RateBlock, first: float, second: float) -> None:
        """Bet on the rates ``first`` and ``second``, which must not depend on the block."""
        for index, boldness in enumerate(_BOLDNESS):
            self._logs[index] += block_log_e(block, first, second, self._margin, boldness)


def block_log_e(
    block: RateBlock, first: float, second: float, margin: float, boldness: float = 1.0
) -> float:
    """The log e-value of one block for the alternative (first, second), both in (0, 1).

    ``boldness`` in (0, 1] draws the alternative towards the null hypothesis; 0 where it lies there.
    """
    gap = first - second - margin
    if gap <= 0 or not block.first_trials or not block.second_trials:
        return 0.0
    first -= (1 - boldness) * gap / 2
    second += (1 - boldness) * gap / 2
    null = _nearest(block, first, second, margin)
    return _log_ratio(block.first_trials, block.first_events, first, null + margin) + _log_ratio(
        block.second_trials, block.second_events, second, null
    )


def _nearest(block: RateBlock, first: float, second: float, margin: float) -> float:
    """The second rate of the nearest point of the null hypothesis, by bisection: the slope of the
    divergence along its edge is negative at ``second`` and positive at ``first − margin``."""
    low, high = second, first - margin
    for _ in range(_STEPS):
        x = (low + high) / 2
        a = x + margin
        slope = block.first_trials * (a - first) / (a * (1 - a))
        slope += block.second_trials * (x - second) / (x * (1 - x))
        low, high = (x, high) if slope < 0 else (low, x)
    return (low + high) / 2


def _log_ratio(trials: float, events: float, rate: float, null: float) -> float:
    return events * math.log(rate / null) + (trials - events) * math.log((1 - rate) / (1 - null))


def _estimate(trials: float, events: float) -> float:
    return (events + 0.5) / (trials + 1)
