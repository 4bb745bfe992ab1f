"""Promote, hold or roll back a canary: a pure decision that stays valid however often it is asked.

Two one-sided e-processes over the same evidence, each with half of the error budget:

- **relative**: given a bad answer, under the null hypothesis it fell on the canary with
  probability equal to its weight w (Lindon & Malek, arXiv 2011.03567), so daily cycles and weight
  steps cancel. Against odds raised by θ the likelihood ratio of one bad answer is
  θ^[canary] / (θ w + 1 − w); the mixture over θ is a martingale under the null.
- **absolute**: the canary's error rate is at most ``max_error_rate`` = p0. Against p1 > p0 the
  ratio of one answer is p1/p0 or (1 − p1)/(1 − p0); a supermartingale for every rate up to p0.

By Ville's inequality each crosses 2/α with probability at most α/2, at any time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentloop.contracts.spec import RolloutSpec

ALPHA = 0.01
_ODDS = (1.5, 2.0, 4.0, 8.0, 32.0, 1000.0)
_RATE_FACTORS = (2.0, 4.0, 16.0)
_HIGH_RATES = (0.5, 0.99)

Verdict = Literal["promote", "hold", "rollback"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the edge counted while the canary's weight was ``weight`` (share in [0, 1]).

    Errors count every 5xx and failed connection, those rescued on stable included.
    """

    weight: float
    canary_requests: int
    canary_errors: int
    stable_requests: int
    stable_errors: int


@dataclass(frozen=True, slots=True)
class Limits:
    """``min_requests`` is what the canary must have answered in the current step."""

    min_requests: int
    max_error_rate: float
    alpha: float = ALPHA

    @classmethod
    def of(cls, spec: RolloutSpec) -> Limits:
        return cls(spec.min_requests, spec.max_error_rate)


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    reasons: tuple[str, ...]


def judge(steps: Sequence[Evidence], limits: Limits) -> Judgement:
    """Judge on the evidence of all ``steps`` so far; the last is the current one."""
    requests = sum(step.canary_requests for step in steps)
    errors = sum(step.canary_errors for step in steps)
    threshold = math.log(2 / limits.alpha)
    relative = relative_evidence(steps)
    absolute = absolute_evidence(requests, errors, limits.max_error_rate)
    numbers = (
        f"canary: {errors} errors in {requests} requests; stable: "
        f"{sum(s.stable_errors for s in steps)} in {sum(s.stable_requests for s in steps)}; "
        f"log evidence {relative:.1f} (relative), {absolute:.1f} (absolute), "
        f"alarm at {threshold:.1f}"
    )
    if relative >= threshold:
        return Judgement("rollback", ("errors fall on the canary beyond its weight", numbers))
    if absolute >= threshold:
        limit = f"the canary's error rate is above {limits.max_error_rate:.2%}"
        return Judgement("rollback", (limit, numbers))
    seen = steps[-1].canary_requests if steps else 0
    if seen < limits.min_requests:
        waiting = f"{seen} of {limits.min_requests} requests on the canary in this step"
        return Judgement("hold", (waiting, numbers))
    if errors > limits.max_error_rate * requests:
        doubt = "its errors are above the limit, though not yet beyond doubt"
        return Judgement("hold", (doubt, numbers))
    return Judgement("promote", ("no evidence against the canary", numbers))


def relative_evidence(steps: Sequence[Evidence]) -> float:
    """The log of the relative e-process; 0 without errors, or where there is nothing to compare."""
    split = [step for step in steps if 0 < step.weight < 1]
    logs = [
        sum(
            step.canary_errors * math.log(odds)
            - (step.canary_errors + step.stable_errors)
            * math.log(odds * step.weight + 1 - step.weight)
            for step in split
        )
        for odds in _ODDS
    ]
    return _log_mean_exp(logs)


def absolute_evidence(requests: int, errors: int, max_rate: float) -> float:
    """The log of the absolute e-process; with a limit of 0 one error is proof."""
    if max_rate >= 1:
        return 0.0
    if max_rate <= 0:
        return math.inf if errors else 0.0
    rates = {rate for factor in _RATE_FACTORS if (rate := max_rate * factor) < 0.99}
    rates |= {rate for rate in _HIGH_RATES if rate > max_rate}
    logs = [
        errors * math.log(rate / max_rate)
        + (requests - errors) * math.log((1 - rate) / (1 - max_rate))
        for rate in sorted(rates)
    ]
    return _log_mean_exp(logs) if logs else 0.0


def _log_mean_exp(logs: Sequence[float]) -> float:
    highest = max(logs)
    return highest + math.log(sum(math.exp(value - highest) for value in logs) / len(logs))
