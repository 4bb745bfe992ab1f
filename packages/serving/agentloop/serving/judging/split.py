"""Does the router split as it should? The sample-ratio test of Lindon & Malek (arXiv 2011.03567).

In each step the requests that were dealt in turn are compared with the weights in force then; a
step's Bayes factor is a supermartingale from 1, so their product is one. Sessions are left out:
which version gets a session is settled once, not request by request. A step in which stable's
failures pushed more on the canary than its turn is left out too, for there the rescue explains the
share. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentloop.serving.judging.e_values import share_differs
from agentloop.serving.judging.evidence import Evidence

# Of its turns: rescues beyond this part of them cannot be made up for in the turns that follow.
RESCUED_PART = 0.5
# The edge's weights are whole numbers up to 256: odd shares are met to within that.
TOLERANCE = 0.002


def split_evidence(steps: Sequence[Evidence]) -> float:
    """The log evidence that requests do not fall on the versions by their weights."""
    return sum(
        share_differs(step.in_turn.canary, step.in_turn.stable, step.weight, TOLERANCE)
        for step in steps
        if step.ready and not _is_disturbed(step)
    )


def _is_disturbed(step: Evidence) -> bool:
    dealt = step.in_turn
    total = dealt.canary + dealt.stable
    return (
        dealt.stable_errors > RESCUED_PART * step.weight * total
        or dealt.canary_errors > RESCUED_PART * (1 - step.weight) * total
    )
