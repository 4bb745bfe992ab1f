"""Checks and how they add up to suites. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agentloop.contracts.models import Check, SuiteName, SuiteResult
from agentloop.validation.stats import Interval

SUITES: tuple[SuiteName, ...] = (
    "performance",
    "robustness",
    "fairness",
    "integration",
    "data_drift",
)


def suite_result(suite: SuiteName, checks: Sequence[Check], seconds: float) -> SuiteResult:
    """False if any check failed, True if one passed and none failed, None if none was judged."""
    outcomes = {check.passed for check in checks}
    passed = False if False in outcomes else (True if True in outcomes else None)
    return SuiteResult(suite, passed, tuple(checks), seconds)


def measured(
    name: str,
    interval: Interval,
    samples: int,
    limit: float | None,
    passed: bool | None,
    message: str,
) -> Check:
    """A check on a measured interval."""
    return Check(name, *interval, samples, limit, passed, message)


def unmeasured(name: str, message: str, limit: float | None = None) -> Check:
    """A check that had nothing to measure: never counted as a pass."""
    return Check(name, None, None, None, 0, limit, None, message)


def observed(name: str, ok: bool, message: str, samples: int = 1) -> Check:
    """A check of something that holds or does not."""
    return Check(name, float(ok), None, None, samples, 1.0, ok, message)
