"""Is the canary slow? Judged by windows of half a second, each one value in [0, 1]. Pure.

Slow answers come in clusters: one pause of a replica makes all that waited slow. So the share of
slow answers in a window is one value, whatever the dependence inside it, and the tests bet on its
mean (arXiv 2010.09686): **absolute**, that the canary's is at most ``max_slow_rate``; **relative**,
that it is at most half of that above stable's in the same window, where a daily cycle cancels.
Proof that it is *not* slow is asked of single answers, as with errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentloop.serving.judging.e_values import (
    clean_trials_needed,
    mean_above,
    rate_below,
    rate_interval,
)
from agentloop.serving.judging.evidence import Evidence, Finding, LatencyWindow, Limits


def latency_findings(steps: Sequence[Evidence], limits: Limits) -> tuple[Finding, ...]:
    """The absolute and the relative finding; none without a budget."""
    if limits.latency_budget_ms is None:
        return ()
    seen = [window for window in _windows(steps) if window.canary]
    paired = [window for window in seen if window.stable]
    budget = f"{limits.latency_budget_ms:g} ms"
    margin = limits.max_slow_rate / 2
    return (
        Finding(
            "slow_absolute",
            mean_above((w.canary_slow / w.canary for w in seen), limits.max_slow_rate, 0.0),
            f"more than {limits.max_slow_rate:.2%} of the canary's answers take over {budget}",
        ),
        Finding(
            "slow_relative",
            mean_above((_difference(window) for window in paired), margin, -1.0),
            f"the canary takes over {budget} more often than the stable version",
        ),
    )


def slow_answers(steps: Sequence[Evidence]) -> tuple[int, int]:
    """Answers of the canary, and the slow ones."""
    windows = _windows(steps)
    return sum(w.canary for w in windows), sum(w.canary_slow for w in windows)


def not_slow(steps: Sequence[Evidence], limits: Limits) -> tuple[float, int]:
    """The log evidence that fewer than twice ``max_slow_rate`` are slow, and the quick answers
    that it still needs."""
    answers, slow = slow_answers(steps)
    rate = 2 * limits.max_slow_rate or 0.01
    if rate >= 1:
        return limits.promotion_bound, 0
    needed = clean_trials_needed(answers, slow, rate, limits.promotion_bound)
    return rate_below(answers, slow, rate), needed


def latency_numbers(steps: Sequence[Evidence], limits: Limits) -> dict[str, float]:
    if limits.latency_budget_ms is None:
        return {}
    windows = _windows(steps)
    answers, slow = slow_answers(steps)
    stable = sum(w.stable for w in windows)
    low, high = rate_interval(answers, slow, limits.alpha)
    return {
        "canary_answers": answers,
        "canary_slow_rate": slow / answers if answers else 0.0,
        "canary_slow_rate_low": low,
        "canary_slow_rate_high": high,
        "stable_slow_rate": sum(w.stable_slow for w in windows) / stable if stable else 0.0,
    }


def _windows(steps: Sequence[Evidence]) -> list[LatencyWindow]:
    return [window for step in steps for window in step.windows]


def _difference(window: LatencyWindow) -> float:
    return window.canary_slow / window.canary - window.stable_slow / window.stable
