"""The judge's evidence for many simulated rollouts at every request at once.

The judge itself looks at one rollout; a thousand of them, asked at every request, would take it
hours. Here is the same arithmetic in arrays; ``disagreements`` holds it against the judge.
Evidence is (rollouts, requests).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from judge_worlds import BLOCK, LABEL_BLOCK, WINDOW, Flags, Floats, Traffic
from scipy.special import gammaln

from agentloop.contracts.traffic import ShadowCounts
from agentloop.serving.judging.decision import Evidence, Limits, judge
from agentloop.serving.judging.evidence import LatencyWindow, PredictionBlock
from agentloop.serving.judging.split import RESCUED_PART, TOLERANCE
from agentloop.serving.judging.two_sample import RateBlock

ODDS = {1.5: 0.1, 2.0: 0.2, 4.0: 0.35, 8.0: 0.2, 32.0: 0.1, 1000.0: 0.05}
HIGHER = {2.0: 0.35, 4.0: 0.3, 16.0: 0.15}
HIGH_RATES = {0.5: 0.1, 0.99: 0.1}
LOWER = (0.6, 0.3, 0.05, 0.001)
STAKES = (0.1, 0.3, 0.6, 0.9)


def evidence(traffic: Traffic, limits: Limits, only: Sequence[str] = ()) -> dict[str, Floats]:
    """Log evidence by test; of those in ``only``, where given."""
    tests = {
        "errors_absolute": _errors_absolute,
        "errors_relative": _errors_relative,
        "slow_absolute": _slow_absolute,
        "slow_relative": _slow_relative,
        "disagreement": _disagreement,
        "predictions": _predictions,
        "labels": _labels,
        "split": _split,
    }
    return {name: tests[name](traffic, limits) for name in only or tests}


def _mean(logs: Iterator[Floats], stakes: Sequence[float]) -> Floats:
    total: Floats | None = None
    for log, stake in zip(logs, stakes, strict=True):
        staked = log + np.log(stake / sum(stakes))
        total = staked if total is None else np.logaddexp(total, staked)
    assert total is not None
    return total


def _mixture(trials: Floats, events: Floats, limit: float, rates: dict[float, float]) -> Floats:
    logs = (
        events * np.log(rate / limit) + (trials - events) * np.log((1 - rate) / (1 - limit))
        for rate in rates
    )
    return _mean(logs, list(rates.values()))


def above(trials: Floats, events: Floats, limit: float) -> Floats:
    rates = {limit * factor: stake for factor, stake in HIGHER.items() if limit * factor < 0.99}
    rates |= {rate: stake for rate, stake in HIGH_RATES.items() if rate > limit}
    return _mixture(trials, events, limit, rates)


def below(trials: Floats, events: Floats, limit: float) -> Floats:
    return _mixture(trials, events, limit, {limit * part: 1.0 for part in LOWER})


def so_far(flags: Flags) -> Floats:
    return np.cumsum(flags, axis=1, dtype=np.float64)


def _errors_absolute(traffic: Traffic, limits: Limits) -> Floats:
    answers = so_far(traffic.canary) + so_far(traffic.shadowed)
    return above(answers, so_far(traffic.canary & traffic.error), limits.max_error_rate)


def _errors_relative(traffic: Traffic, limits: Limits) -> Floats:
    canary = traffic.canary & traffic.error
    split = traffic.weights < 1

    def of(odds: float) -> Floats:
        usual = np.where(split, np.log(odds * traffic.weights + 1 - traffic.weights), 0.0)
        mine = np.where(split, np.log(odds), 0.0)
        return np.cumsum(canary * mine - traffic.error * usual, axis=1)

    return _mean(map(of, ODDS), list(ODDS.values()))


def _disagreement(traffic: Traffic, limits: Limits) -> Floats:
    differing = so_far(traffic.shadowed & traffic.disagree)
    return above(so_far(traffic.shadowed), differing, limits.max_disagreement or 0.0)


def _in(flags: Flags, length: int) -> Floats:
    """Counts by block, (rollouts, blocks); requests after the last whole block are left out."""
    whole = flags.shape[1] // length * length
    blocks = flags[:, :whole].reshape(flags.shape[0], -1, length)
    return blocks.sum(axis=2).astype(np.float64)


def _at_requests(blocks: Floats, length: int, requests: int) -> Floats:
    """A block's evidence counts from its end on."""
    spread = np.repeat(blocks, length, axis=1)
    late = np.zeros((blocks.shape[0], requests))
    late[:, length:] = spread[:, : requests - length]
    return late


def _bets(values: Floats, limit: float, lowest: float, requests: int) -> Floats:
    gains = np.nan_to_num((values - limit) / (limit - lowest))
    logs = [np.cumsum(np.log1p(stake * gains), axis=1) for stake in STAKES]
    return _at_requests(np.logaddexp.reduce(logs) - np.log(len(STAKES)), WINDOW, requests)


def _slow(traffic: Traffic) -> tuple[Floats, Floats]:
    with np.errstate(invalid="ignore"):
        return tuple(  # type: ignore[return-value]
            _in(side & traffic.slow, WINDOW) / _in(side, WINDOW)
            for side in (traffic.canary, ~traffic.canary)
        )


def _slow_absolute(traffic: Traffic, limits: Limits) -> Floats:
    values, _ = _slow(traffic)
    return _bets(values, limits.max_slow_rate, 0.0, traffic.canary.shape[1])


def _slow_relative(traffic: Traffic, limits: Limits) -> Floats:
    canary, stable = _slow(traffic)
    return _bets(canary - stable, limits.max_slow_rate / 2, -1.0, traffic.canary.shape[1])


def _split(traffic: Traffic, limits: Limits) -> Floats:
    result = np.zeros(traffic.canary.shape)
    before = np.zeros((traffic.canary.shape[0], 1))
    for start, stop in _steps(traffic.weights):
        share = float(traffic.weights[start])
        if share < 1:
            canary, error = traffic.canary[:, start:stop], traffic.error[:, start:stop]
            first, second = so_far(canary), so_far(~canary)
            weight = 1 / min(share, 1 - share)
            a, b = weight * share, weight * (1 - share)
            log = _log_beta(a + first, b + second) - _log_beta(a, b)
            allowed = np.clip(first / (first + second), share - TOLERANCE, share + TOLERANCE)
            log -= first * np.log(allowed) + second * np.log1p(-allowed)
            turns = RESCUED_PART * (first + second)
            disturbed = so_far(~canary & error) > turns * share
            disturbed |= so_far(canary & error) > turns * (1 - share)
            result[:, start:stop] = np.where(disturbed, 0.0, log)
        result[:, start:stop] += before
        before = result[:, stop - 1 : stop]
    return result


def _steps(weights: Floats) -> Iterator[tuple[int, int]]:
    cuts = [0, *(np.flatnonzero(np.diff(weights)) + 1).tolist(), len(weights)]
    yield from pairwise(cuts)


def _log_beta(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    result: Floats = gammaln(a) + gammaln(b) - gammaln(np.add(a, b))
    return result


class _Process:
    """``RateProcess`` of many rollouts."""

    def __init__(self, rollouts: int, margin: float) -> None:
        self.logs = np.zeros((2, rollouts))
        self.margin = margin

    def bet(self, counts: list[Floats], first: Floats, second: Floats) -> None:
        n1, k1, n2, k2 = counts
        gap = first - second - self.margin
        live = (gap > 0) & (n1 > 0) & (n2 > 0)
        for index, boldness in enumerate((1.0, 0.5)):
            a = np.where(live, first - (1 - boldness) * gap / 2, 0.6)
            b = np.where(live, second + (1 - boldness) * gap / 2, 0.3)
            null = self._nearest(n1, n2, a, b, live)
            x = np.where(live, null + self.margin, 0.5)
            log = k1 * np.log(a / x) + (n1 - k1) * np.log((1 - a) / (1 - x))
            log += k2 * np.log(b / null) + (n2 - k2) * np.log((1 - b) / (1 - null))
            self.logs[index] += np.where(live, log, 0.0)

    def _nearest(self, n1: Floats, n2: Floats, a: Floats, b: Floats, live: Flags) -> Floats:
        low, high = b.copy(), np.where(live, a - self.margin, b + 0.01)
        for _ in range(30):
            x = (low + high) / 2
            y = np.where(live, x + self.margin, 0.5)
            slope = n1 * (y - a) / (y * (1 - y)) + n2 * (x - b) / (x * (1 - x))
            low, high = np.where(slope < 0, x, low), np.where(slope < 0, high, x)
        return (low + high) / 2

    @property
    def log_e(self) -> Floats:
        result: Floats = np.logaddexp.reduce(self.logs) - np.log(2)
        return result


def _predictions(traffic: Traffic, limits: Limits) -> Floats:
    sides = [
        np.stack([_in(side & (traffic.predicted == k), BLOCK) for k in range(3)], axis=2)
        for side in (traffic.canary, ~traffic.canary)
    ]
    rollouts, blocks, _ = sides[0].shape
    process = _Process(rollouts, limits.max_prediction_shift or 0.0)
    past = [np.zeros((rollouts, 3)) for _ in sides]
    waiting = [np.zeros((rollouts, 3)) for _ in sides]
    result = np.zeros((rollouts, blocks))
    for number in range(blocks):
        waiting = [w + side[:, number] for w, side in zip(waiting, sides, strict=True)]
        closed = (waiting[0].sum(1) > 0) & (waiting[1].sum(1) > 0)
        now = [w * closed[:, None] for w in waiting]
        totals = [np.maximum(p.sum(1), 1e-9) for p in past]
        known = (past[0].sum(1) > 0) & (past[1].sum(1) > 0)
        chosen = past[0] / totals[0][:, None] > past[1] / totals[1][:, None]
        counts = [value * known for n in now for value in (n.sum(1), (n * chosen).sum(1))]
        first, second = ((p * chosen).sum(1) + 0.5 for p in past)
        process.bet(counts, first / (past[0].sum(1) + 1), second / (past[1].sum(1) + 1))
        past = [p + n for p, n in zip(past, now, strict=True)]
        waiting = [w - n for w, n in zip(waiting, now, strict=True)]
        result[:, number] = process.log_e
    return _at_requests(result, BLOCK, traffic.canary.shape[1])


def _labels(traffic: Traffic, limits: Limits) -> Floats:
    stable, canary = ~traffic.canary & traffic.labelled, traffic.canary & traffic.labelled
    series = [
        _in(flags, LABEL_BLOCK)
        for flags in (stable, stable & traffic.right, canary, canary & traffic.right)
    ]
    rollouts, blocks = series[0].shape
    process = _Process(rollouts, limits.max_accuracy_loss or 0.0)
    past = [np.zeros(rollouts) for _ in series]
    waiting = [np.zeros(rollouts) for _ in series]
    result = np.zeros((rollouts, blocks))
    for number in range(blocks):
        waiting = [w + s[:, number] for w, s in zip(waiting, series, strict=True)]
        closed = (waiting[0] > 0) & (waiting[2] > 0)
        now = [w * closed for w in waiting]
        process.bet(now, (past[1] + 0.5) / (past[0] + 1), (past[3] + 0.5) / (past[2] + 1))
        past = [p + n for p, n in zip(past, now, strict=True)]
        waiting = [w - n for w, n in zip(waiting, now, strict=True)]
        result[:, number] = process.log_e
    return _at_requests(result, LABEL_BLOCK, traffic.canary.shape[1])


def disagreements(traffic: Traffic, limits: Limits, rollouts: int, looks: int) -> float:
    """The largest difference from the judge's own evidence, over all tests, looks and
    ``rollouts``."""
    found = evidence(traffic, limits)
    apart = 0.0
    requests = traffic.canary.shape[1]
    for rollout in range(rollouts):
        for look in np.linspace(1, requests // LABEL_BLOCK - 1, looks).astype(int):
            end = int(look) * LABEL_BLOCK + 1
            numbers = judge(_as_evidence(traffic, rollout, end), limits).numbers
            apart = max(
                apart,
                *(abs(numbers[f"log_e_{t}"] - log[rollout, end - 1]) for t, log in found.items()),
            )
    return apart


def _as_evidence(traffic: Traffic, rollout: int, end: int) -> list[Evidence]:
    canary, error = traffic.canary[rollout, :end], traffic.error[rollout, :end]
    steps = [(a, min(b, end)) for a, b in _steps(traffic.weights) if a < end]
    shadowed = traffic.shadowed[rollout, :end]
    differing = shadowed & traffic.disagree[rollout, :end]
    found = [
        Evidence(
            float(traffic.weights[a]),
            int(canary[a:b].sum()),
            int((canary & error)[a:b].sum()),
            int((~canary)[a:b].sum()),
            int((~canary & error)[a:b].sum()),
            shadow=ShadowCounts(int(shadowed[a:b].sum()), float(differing[a:b].sum())),
        )
        for a, b in steps
    ]
    # Windows and blocks reach across steps; which step holds them makes no difference.
    return [*found[:-1], _with_blocks(found[-1], traffic, rollout, end)]


def _with_blocks(last: Evidence, traffic: Traffic, rollout: int, end: int) -> Evidence:
    one = slice(rollout, rollout + 1), slice(0, end - 1)
    canary, slow = traffic.canary[one], traffic.slow[one]
    windows = zip(
        *(
            _in(flags, WINDOW)[0].astype(int).tolist()
            for flags in (canary, canary & slow, ~canary, ~canary & slow)
        ),
        strict=True,
    )
    return replace(
        last,
        windows=tuple(LatencyWindow(*window) for window in windows),
        predictions=tuple(_prediction_blocks(canary, traffic.predicted[one])),
        labels=tuple(_label_blocks(canary, traffic.labelled[one], traffic.right[one])),
    )


def _prediction_blocks(canary: Flags, predicted: npt.NDArray[np.int8]) -> Iterator[PredictionBlock]:
    sides = [
        np.stack([_in(side & (predicted == k), BLOCK)[0] for k in range(3)], axis=1)
        for side in (canary, ~canary)
    ]
    waiting = [np.zeros(3), np.zeros(3)]
    for number in range(len(sides[0])):
        waiting = [w + side[number] for w, side in zip(waiting, sides, strict=True)]
        if waiting[0].sum() and waiting[1].sum():
            yield PredictionBlock(*(dict(zip("abc", w.tolist(), strict=True)) for w in waiting))
            waiting = [np.zeros(3), np.zeros(3)]


def _label_blocks(canary: Flags, labelled: Flags, right: Flags) -> Iterator[RateBlock]:
    stable, mine = ~canary & labelled, canary & labelled
    series = [_in(flags, LABEL_BLOCK)[0] for flags in (stable, stable & right, mine, mine & right)]
    waiting = np.zeros(4)
    for now in zip(*series, strict=True):
        waiting = waiting + np.array(now)
        if waiting[0] and waiting[2]:
            yield RateBlock(*waiting.tolist())
            waiting = np.zeros(4)
