"""Promote, hold or roll back a canary: a pure decision that stays valid however often it is asked.

Each test is an e-process against "the canary is as good as it must be"; it rolls back when its
evidence reaches the bound that its part of ``Limits.alpha`` sets. By Ville's inequality a version
that keeps within all limits is ever rolled back with probability at most alpha, at whatever
moments the judge is asked (Johari et al., "Always valid inference", arXiv 1512.04922; Lindon,
Sanden & Shirikian, "Rapid regression detection in software deployments through sequential
testing", arXiv 2205.14762). A promotion needs evidence too: the last step must refute that the
canary is inferior, at ``Limits.beta``. Without traffic there is no evidence, and it holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agentloop.serving.judging.errors import (
    canary_errors,
    error_findings,
    error_numbers,
    not_inferior,
)
from agentloop.serving.judging.evidence import (
    ALPHA,
    SPLIT_ALPHA,
    Dealt,
    Evidence,
    Finding,
    Judgement,
    LatencyWindow,
    Limits,
    PredictionBlock,
    Verdict,
)
from agentloop.serving.judging.labels import label_findings, label_numbers
from agentloop.serving.judging.latency import (
    latency_findings,
    latency_numbers,
    not_slow,
    slow_answers,
)
from agentloop.serving.judging.predictions import prediction_findings, prediction_numbers
from agentloop.serving.judging.shadow import agrees, shadow_counts, shadow_findings, shadow_numbers
from agentloop.serving.judging.split import split_evidence

__all__ = [
    "ALPHA",
    "Dealt",
    "Evidence",
    "Judgement",
    "LatencyWindow",
    "Limits",
    "PredictionBlock",
    "Verdict",
    "judge",
]

# With an error seen, more answers are needed to tell bad luck from a bad version.
DOUBT_ANSWERS = 20
# Findings without a rate of their own to look at are in doubt from this part of their bound on.
DOUBT = 0.5
SPLIT_BOUND = -math.log(SPLIT_ALPHA)
CERTAIN = 1e6
# These compare with the stable version by way of the weights, so they rest on the router.
_BY_WEIGHT = ("errors_relative",)


def judge(steps: Sequence[Evidence], limits: Limits, final: bool | None = None) -> Judgement:
    """Judge on the evidence of all ``steps`` so far; the last is the current one.

    ``final``: a promotion now ends the comparison, so it must be earned; None: from the
    ``final_weight`` of the limits on. A step at weight 0 is judged on copies of stable's requests.
    """
    findings = _findings(steps, limits)
    split = split_evidence(steps)
    numbers = _numbers(steps, limits, findings, split)
    line = summary(numbers)
    guilty = [f for f in findings if f.log_e >= limits.bound(f.test)]
    certain = [f for f in guilty if f.test not in _BY_WEIGHT]
    if certain:
        return Judgement("rollback", (certain[0].claim, line), numbers)
    if split >= SPLIT_BOUND:
        # Such evidence is worth nothing, for or against: the rollout holds until it is given up.
        return Judgement("hold", ("the router does not split as it should", line), numbers)
    if guilty:
        return Judgement("rollback", (guilty[0].claim, line), numbers)
    if final is None:
        # The edge's weights are integers, so a share is met to within half a percent.
        final = bool(steps) and steps[-1].weight >= limits.final_weight - 0.005
    missing, wanted = _missing(steps, limits, findings, final)
    if missing:
        return Judgement("hold", (missing, line), numbers, wanted)
    proof = "it is not inferior" if final else "no evidence against the canary"
    return Judgement("promote", (proof, line), numbers)


def _findings(steps: Sequence[Evidence], limits: Limits) -> tuple[Finding, ...]:
    return (
        *error_findings(steps, limits),
        *latency_findings(steps, limits),
        *shadow_findings(steps, limits),
        *prediction_findings(steps, limits),
        *label_findings(steps, limits),
    )


def _missing(
    steps: Sequence[Evidence], limits: Limits, findings: Sequence[Finding], final: bool
) -> tuple[str, int]:
    """Why it cannot be promoted yet ("" where it can), and the answers that may change that."""
    if not steps:
        return "nothing was observed yet", limits.min_requests
    if not steps[-1].ready:
        return "no replica of the canary is ready", 0
    seen, where = _seen(steps[-1])
    needed = limits.needed(steps[-1].weight, final or steps[-1].weight <= 0)
    if seen < needed:
        return f"{seen} of {needed} {where} in this step", needed - seen
    requests, errors = canary_errors(steps)
    if errors > limits.max_error_rate * requests:
        return "its errors are above the limit, though not yet beyond doubt", DOUBT_ANSWERS
    answers, slow = slow_answers(steps)
    if limits.latency_budget_ms is not None and slow > limits.max_slow_rate * answers:
        return "its slow answers are above the limit, though not yet beyond doubt", DOUBT_ANSWERS
    doubtful = [f for f in findings if f.log_e >= DOUBT * limits.bound(f.test)]
    if doubtful:
        return f"it is not yet beyond doubt whether {doubtful[0].claim}", DOUBT_ANSWERS
    return _unproven(steps, limits) if final else ("", 0)


def _seen(step: Evidence) -> tuple[int, str]:
    if step.weight > 0:
        return step.canary_requests, "requests on the canary"
    counts = shadow_counts([step])
    return counts.compared + counts.failed, "copies compared"


def _unproven(steps: Sequence[Evidence], limits: Limits) -> tuple[str, int]:
    """What keeps a promotion from being earned."""
    proofs = [("fails", not_inferior(steps, limits))]
    if limits.latency_budget_ms is not None:
        if not slow_answers(steps)[0]:
            return "no replica of the canary has told how long its answers took", DOUBT_ANSWERS
        proofs.append(("is slow", not_slow(steps, limits)))
    if limits.max_disagreement is not None and any(step.shadow for step in steps):
        proofs.append(("disagrees", agrees(steps, limits)))
    for what, (log_e, wanted) in proofs:
        if log_e < limits.promotion_bound:
            evidence = f"log evidence {log_e:.1f} of {limits.promotion_bound:.1f}"
            return f"it is not proven that it {what} no more than it may: {evidence}", wanted
    return "", 0


def _numbers(
    steps: Sequence[Evidence], limits: Limits, findings: Sequence[Finding], split: float
) -> dict[str, float]:
    numbers = error_numbers(steps, limits)
    numbers |= latency_numbers(steps, limits)
    numbers |= shadow_numbers(steps, limits)
    numbers |= prediction_numbers(steps, limits)
    numbers |= label_numbers(steps)
    for finding in findings:
        # What is certain (an error where none is allowed) is infinite, which JSON cannot say.
        numbers[f"log_e_{finding.test}"] = min(finding.log_e, CERTAIN)
        numbers[f"bound_{finding.test}"] = limits.bound(finding.test)
    numbers["log_e_not_inferior"] = not_inferior(steps, limits)[0]
    numbers["bound_not_inferior"] = limits.promotion_bound
    numbers["log_e_split"] = split
    numbers["bound_split"] = SPLIT_BOUND
    return numbers


def summary(numbers: dict[str, float]) -> str:
    """The numbers in one line: every decision shows what it rests on."""
    tests = [name.removeprefix("log_e_") for name in numbers if name.startswith("log_e_")]
    evidence = ", ".join(
        f"{test.replace('_', ' ')} {numbers[f'log_e_{test}']:.1f}/{numbers[f'bound_{test}']:.1f}"
        for test in tests
    )
    return (
        f"canary: {numbers['canary_errors']:.0f} errors in {numbers['canary_requests']:.0f} "
        f"requests; stable: {numbers['stable_errors']:.0f} in {numbers['stable_requests']:.0f}; "
        f"log evidence/bound: {evidence}"
    )
