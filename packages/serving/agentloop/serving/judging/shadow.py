"""Does the canary answer copies of the stable version's requests as that did? Pure.

Each compared request is the share of its rows that differ, so the absolute e-process of errors
holds for it too: the null hypothesis is that on average at most ``max_disagreement`` differ.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentloop.contracts.traffic import ShadowCounts
from agentloop.serving.judging.e_values import (
    clean_trials_needed,
    rate_above,
    rate_below,
    rate_interval,
)
from agentloop.serving.judging.evidence import Evidence, Finding, Limits


def shadow_counts(steps: Sequence[Evidence]) -> ShadowCounts:
    """All steps' together."""
    seen = [step.shadow for step in steps if step.shadow is not None]
    return ShadowCounts(
        sum(s.compared for s in seen),
        sum(s.disagreed for s in seen),
        sum(s.failed for s in seen),
        sum(s.dropped for s in seen),
    )


def shadow_findings(steps: Sequence[Evidence], limits: Limits) -> tuple[Finding, ...]:
    if limits.max_disagreement is None:
        return ()
    counts = shadow_counts(steps)
    log_e = rate_above(counts.compared, counts.disagreed, limits.max_disagreement)
    claim = (
        "the canary disagrees with the stable version on more than "
        f"{limits.max_disagreement:.2%} of the rows"
    )
    return (Finding("disagreement", log_e, claim),)


def agrees(steps: Sequence[Evidence], limits: Limits) -> tuple[float, int]:
    """The log evidence that it disagrees on fewer than twice ``max_disagreement``, and the
    agreeing answers that it still needs."""
    counts = shadow_counts(steps)
    rate = 2 * (limits.max_disagreement or 0.0) or 0.01
    if limits.max_disagreement is None or rate >= 1:
        return limits.promotion_bound, 0
    needed = clean_trials_needed(counts.compared, counts.disagreed, rate, limits.promotion_bound)
    return rate_below(counts.compared, counts.disagreed, rate), needed


def shadow_numbers(steps: Sequence[Evidence], limits: Limits) -> dict[str, float]:
    counts = shadow_counts(steps)
    if not any(step.shadow is not None for step in steps):
        return {}
    low, high = rate_interval(counts.compared, counts.disagreed, limits.alpha)
    return {
        "shadow_compared": counts.compared,
        "shadow_failed": counts.failed,
        "shadow_dropped": counts.dropped,
        "disagreement": counts.disagreed / counts.compared if counts.compared else 0.0,
        "disagreement_low": low,
        "disagreement_high": high,
    }
