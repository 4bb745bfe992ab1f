"""What a failing check does to a row or a batch, and which setting says so."""

from __future__ import annotations

from dataclasses import dataclass

from agentloop.contracts.data import Severity
from agentloop.contracts.spec import ChecksSpec
from agentloop.data.batch import CheckKey


@dataclass(frozen=True, slots=True)
class Verdict:
    """``policy`` is the setting, as it would be written in loop.yaml."""

    severity: Severity
    policy: str


def row_verdict(checks: ChecksSpec, key: CheckKey) -> Verdict:
    """What the rows that fail a check do. Rows that nothing can be learnt from (no target, or torn)
    are set aside at least; anomalies warn unless their own policy says more."""
    check, subject = key
    for rule in checks.rules if check == "rule" else ():
        if subject == (rule.name or rule.check) and rule.on_failure is not None:
            return Verdict(rule.on_failure, f"data.checks.rules: on_failure: {rule.on_failure}")
    if check in checks.policy:
        severity = checks.policy[check]
        policy = f"data.checks.policy.{check}: {severity}"
    elif check == "anomaly":
        severity, policy = "warn", "data.checks.policy.anomaly: warn (default)"
    else:
        severity, policy = checks.on_failure, f"data.checks.on_failure: {checks.on_failure}"
    if check in ("target", "torn") and severity == "warn":
        severity = "quarantine"
    return Verdict(severity, policy)


def batch_verdict(checks: ChecksSpec, check: str, limit: str) -> Verdict:
    """What a whole batch past the setting ``limit`` does. It has no rows to set aside: it is
    rejected, or told."""
    severity = checks.policy.get(check, checks.on_failure)  # type: ignore[call-overload]
    told: Severity = "reject" if severity == "reject" else "warn"
    value = getattr(checks, limit)
    return Verdict(told, f"data.checks.{limit}: {value:g}, {check}: {severity}")
