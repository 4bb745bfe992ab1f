"""What the judge is given and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agentloop.contracts.spec import RolloutSpec
from agentloop.contracts.traffic import ShadowCounts
from agentloop.serving.judging.two_sample import RateBlock

ALPHA = 0.01
# A wrong promotion is less dear than it looks: the next step, and the bake, still watch.
BETA = 0.05
SPLIT_ALPHA = 0.001
MIN_STEP_REQUESTS = 5
# With no errors allowed at all, what a promotion must rule out.
LEAST_INFERIOR_RATE = 0.005

Verdict = Literal["promote", "hold", "rollback"]


@dataclass(frozen=True, slots=True)
class Dealt:
    """Requests that the edge dealt in turn by weight, second tries included, and how many failed
    at the first try. Requests of a session are in neither: a session's requests are alike, so
    they do not fall on a version independently of one another."""

    canary: int
    canary_errors: int
    stable: int
    stable_errors: int


@dataclass(frozen=True, slots=True)
class LatencyWindow:
    """Answers of half a second or more, and those of them that took longer than the budget."""

    canary: int
    canary_slow: int
    stable: int
    stable_slow: int


@dataclass(frozen=True, slots=True)
class PredictionBlock:
    """Live requests by predicted class or bin, a request spread over its rows."""

    canary: Mapping[str, float]
    stable: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was counted while the canary's weight was ``weight`` (share in [0, 1]).

    Errors count every first try that ended in a 5xx or a failed connection, those rescued on
    stable included. ``dealt`` None: all requests were dealt in turn. ``labels`` are blocks of
    labelled predictions, first the stable version's, an event being a right one.
    """

    weight: float
    canary_requests: int
    canary_errors: int
    stable_requests: int
    stable_errors: int
    dealt: Dealt | None = None
    windows: tuple[LatencyWindow, ...] = ()
    predictions: tuple[PredictionBlock, ...] = ()
    labels: tuple[RateBlock, ...] = ()
    shadow: ShadowCounts | None = None
    ready: bool = True

    @property
    def in_turn(self) -> Dealt:
        return self.dealt or Dealt(
            self.canary_requests, self.canary_errors, self.stable_requests, self.stable_errors
        )


# How the chance of a false rollback is divided, before tests that are off give their part away.
_SHARES = {
    "errors_relative": 3.0,
    "errors_absolute": 3.0,
    "slow_absolute": 1.0,
    "slow_relative": 1.0,
    "disagreement": 1.0,
    "predictions": 1.0,
    "labels": 1.0,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """``min_requests`` is what the canary must have answered at 100%, and in proportion before.

    A promotion must be earned from ``final_weight`` on: the share before the one that leaves
    nothing to compare with. None: not judged. ``alpha`` bounds the chance that a version no worse
    than it may be is ever rolled back, over the whole rollout and all tests together.
    """

    min_requests: int
    max_error_rate: float
    alpha: float = ALPHA
    latency_budget_ms: float | None = None
    max_slow_rate: float = 0.05
    max_disagreement: float | None = None
    max_prediction_shift: float | None = None
    max_accuracy_loss: float | None = None
    beta: float = BETA
    final_weight: float = 1.0

    @classmethod
    def of(cls, spec: RolloutSpec) -> Limits:
        return cls(
            spec.min_requests,
            spec.max_error_rate,
            latency_budget_ms=spec.latency_budget_ms,
            max_slow_rate=spec.max_slow_rate,
            max_disagreement=spec.max_disagreement,
            max_prediction_shift=spec.max_prediction_shift,
            max_accuracy_loss=spec.max_accuracy_loss,
            final_weight=(0.0, *spec.percents)[-2] / 100.0,
        )

    def bound(self, test: str) -> float:
        """The log evidence at which ``test`` rolls back; the parts of alpha add up to alpha."""
        active = {name: share for name, share in _SHARES.items() if self._is_on(name)}
        return math.log(sum(active.values()) / (active[test] * self.alpha))

    @property
    def promotion_bound(self) -> float:
        """The log evidence against inferiority that a promotion needs."""
        return -math.log(self.beta)

    @property
    def inferior_error_rate(self) -> float:
        """The error rate that a promotion must rule out: twice the limit, so that a version at
        the limit can be told from it in finite time."""
        return 2 * self.max_error_rate or LEAST_INFERIOR_RATE

    def needed(self, weight: float, final: bool) -> int:
        """The answers that the canary must have given in a step at ``weight``."""
        if final:
            return self.min_requests
        part = max(MIN_STEP_REQUESTS, math.ceil(self.min_requests * weight - 1e-9))
        return min(self.min_requests, part)

    def _is_on(self, test: str) -> bool:
        switches = {
            "slow_absolute": self.latency_budget_ms,
            "slow_relative": self.latency_budget_ms,
            "disagreement": self.max_disagreement,
            "predictions": self.max_prediction_shift,
            "labels": self.max_accuracy_loss,
        }
        return switches.get(test, True) is not None


@dataclass(frozen=True, slots=True)
class Finding:
    """One test's word: its log evidence against the canary, and what that would prove."""

    test: str
    log_e: float
    claim: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """``numbers`` are what it rests on; ``wanted`` how many more answers without an error of the
    canary it would take to promote, 0 where answers are not what is missing."""

    verdict: Verdict
    reasons: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    wanted: int = 0
