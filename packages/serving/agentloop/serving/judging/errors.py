"""Is the canary failing more than it may? Two e-processes, and one that says it is not. Pure.

- **relative**: given an error, under the null hypothesis it fell on the canary with probability
  at most its weight w (Lindon & Malek, arXiv 2011.03567), so daily cycles and weight steps cancel.
  Against odds raised by θ the likelihood ratio of one error is θ^[canary] / (θ w + 1 − w); the
  mixture over θ is a supermartingale under the null hypothesis.
- **absolute**: the canary's error rate is at most ``max_error_rate``.
- **not inferior**: the canary's error rate is at least twice ``max_error_rate``; refuting this is
  what a promotion needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agentloop.serving.judging.e_values import (
    clean_trials_needed,
    log_mean_exp,
    rate_above,
    rate_below,
    rate_interval,
)
from agentloop.serving.judging.evidence import Evidence, Finding, Limits

# Alternatives, and the stake on each: most on what is hard to see and common.
_ODDS = (1.5, 2.0, 4.0, 8.0, 32.0, 1000.0)
_STAKES = (0.1, 0.2, 0.35, 0.2, 0.1, 0.05)


def error_findings(steps: Sequence[Evidence], limits: Limits) -> tuple[Finding, Finding]:
    """The absolute and the relative finding."""
    requests, errors = canary_errors(steps)
    above = f"the canary's error rate is above {limits.max_error_rate:.2%}"
    return (
        Finding("errors_absolute", rate_above(requests, errors, limits.max_error_rate), above),
        Finding(
            "errors_relative",
            relative_evidence(steps),
            "errors fall on the canary beyond its weight",
        ),
    )


def canary_errors(steps: Sequence[Evidence]) -> tuple[int, int]:
    """Requests and errors of the canary; copies that it was sent as a shadow count as well."""
    requests = sum(step.canary_requests for step in steps)
    errors = sum(step.canary_errors for step in steps)
    for step in steps:
        if step.shadow is not None:
            requests += step.shadow.compared + step.shadow.failed
            errors += step.shadow.failed
    return requests, errors


def relative_evidence(steps: Sequence[Evidence]) -> float:
    """The log of the relative e-process; 0 without errors, or where there is nothing to compare.

    A version that fails is asked less in turn than its weight, because the requests it takes over
    from others count as turns: that errs on the canary's side while its weight is under a half.
    """
    split = [step for step in steps if 0 < step.weight < 1]
    logs = [sum(_odds_evidence(step, odds) for step in split) for odds in _ODDS]
    return log_mean_exp(logs, _STAKES)


def _odds_evidence(step: Evidence, odds: float) -> float:
    dealt = step.in_turn
    errors = dealt.canary_errors + dealt.stable_errors
    usual = odds * step.weight + 1 - step.weight
    return dealt.canary_errors * math.log(odds) - errors * math.log(usual)


def not_inferior(steps: Sequence[Evidence], limits: Limits) -> tuple[float, int]:
    """The log evidence that the canary is not inferior, and the clean answers it still needs."""
    requests, errors = canary_errors(steps)
    rate = limits.inferior_error_rate
    if rate >= 1:
        return limits.promotion_bound, 0
    log_e = rate_below(requests, errors, rate)
    return log_e, clean_trials_needed(requests, errors, rate, limits.promotion_bound)


def error_numbers(steps: Sequence[Evidence], limits: Limits) -> dict[str, float]:
    """Counts, rates and the canary's confidence sequence at 1 − alpha."""
    requests, errors = canary_errors(steps)
    stable, stable_bad = (
        sum(step.stable_requests for step in steps),
        sum(step.stable_errors for step in steps),
    )
    low, high = rate_interval(requests, errors, limits.alpha)
    return {
        "canary_requests": requests,
        "canary_errors": errors,
        "stable_requests": stable,
        "stable_errors": stable_bad,
        "canary_error_rate": errors / requests if requests else 0.0,
        "canary_error_rate_low": low,
        "canary_error_rate_high": high,
        "stable_error_rate": stable_bad / stable if stable else 0.0,
    }
