"""Is the canary right less often, where the truth is known by now? Pure.

Labels come late and to some predictions only, but without regard to the version that answered, so
blocks of them are compared as in ``two_sample``: the null hypothesis is that the stable version's
accuracy is at most ``max_accuracy_loss`` above the canary's.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentloop.serving.judging.evidence import Evidence, Finding, Limits
from agentloop.serving.judging.two_sample import rate_exceeds


def label_findings(steps: Sequence[Evidence], limits: Limits) -> tuple[Finding, ...]:
    if limits.max_accuracy_loss is None:
        return ()
    log_e = rate_exceeds(
        (block for step in steps for block in step.labels), limits.max_accuracy_loss
    )
    claim = (
        f"the canary's accuracy is more than {limits.max_accuracy_loss:.2%} under the stable "
        "version's"
    )
    return (Finding("labels", log_e, claim),)


def label_numbers(steps: Sequence[Evidence]) -> dict[str, float]:
    """Accuracies, where there are labels."""
    blocks = [block for step in steps for block in step.labels]
    stable, canary = sum(b.first_trials for b in blocks), sum(b.second_trials for b in blocks)
    if not stable or not canary:
        return {}
    return {
        "canary_labels": canary,
        "canary_accuracy": sum(b.second_events for b in blocks) / canary,
        "stable_accuracy": sum(b.first_events for b in blocks) / stable,
    }
