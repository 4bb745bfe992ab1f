"""May this version go near traffic? A pure function of the suites and the policy."""

from __future__ import annotations

from collections.abc import Mapping

from agentloop.contracts.models import Check, SuiteName, SuiteResult
from agentloop.contracts.runs import Decision
from agentloop.validation.suites import SUITES

# Suites that must have been measured: fairness and recent traffic may have nothing to measure.
REQUIRED: tuple[SuiteName, ...] = ("performance", "robustness", "integration", "data_drift")

# What to do about a failed check, by the part of its name before ':'.
ADVICE: Mapping[str, str] = {
    "accuracy": "search more trials or add training data, or lower validation.min_accuracy",
    "champion_difference": "keep the champion; compare the two runs' data and parameters",
    "latency_p99_ms": "serve a smaller model, or raise serving.cpus or validation.max_p99_ms",
    "noise_drop": "train with more regularisation (model.parameters.weight_decay, dropout)",
    "missing_drop": "impute at the source, or train on rows with missing values",
    "fgsm_drop": "train with more regularisation (model.parameters.weight_decay, dropout)",
    "pgd_drop": "train with more regularisation (model.parameters.weight_decay, dropout)",
    "group_gap": "add training rows of the group that is served worst",
    "holdout_vs_training": "check data.split: the held-out rows are unlike the training rows",
    "recent_traffic": "ingest newer data and train again: live traffic has moved on",
}
STAGE_FIRST = "start the serving plane, so that the version can be staged: agentloop up"
SERVING_FAULT = "the staged version does not answer as the model does: read its replica's log"
ADD_ROWS = "add held-out rows (data.split.test): the accuracy's interval spans its limit"


def make_deployment_decision(
    test_results: Mapping[str, SuiteResult], required: tuple[SuiteName, ...] = REQUIRED
) -> Decision:
    """Approved if no suite failed and every ``required`` one was measured.

    ``reasons`` holds a sentence for every suite, whatever the outcome; ``recommendations`` what
    would help, without repeats.
    """
    results = [test_results[name] for name in SUITES if name in test_results]
    known = {result.suite for result in results}
    missing = [name for name in required if name not in known]
    unmeasured = [r.suite for r in results if r.passed is None and r.suite in required]
    failed = [r for r in results if r.passed is False]
    reasons = [f"{name}: was not run" for name in missing]
    reasons += [sentence for result in results for sentence in _reasons(result, required)]
    advice = [_advice(result, check) for result in failed for check in _failed(result)]
    if "integration" in unmeasured:
        advice.append(STAGE_FIRST)
    advice += [ADD_ROWS for result in results for check in result.checks if _unsure(check)]
    approved = not (failed or unmeasured or missing)
    return Decision(approved, tuple(reasons), tuple(dict.fromkeys(advice)))


def _reasons(result: SuiteResult, required: tuple[SuiteName, ...]) -> list[str]:
    if result.passed is False:
        return [
            f"{result.suite}: {check.name} failed: {check.message}" for check in _failed(result)
        ]
    if result.passed is None:
        why = next((c.message for c in result.checks if c.samples == 0), "nothing was judged")
        need = "not measured, but required" if result.suite in required else "not measured"
        return [f"{result.suite}: {need}: {why}"]
    judged = [check for check in result.checks if check.passed]
    return [f"{result.suite}: passed: {_headline(judged)}"]


def _headline(judged: list[Check]) -> str:
    more = f" (and {len(judged) - 1} more)" if len(judged) > 1 else ""
    return f"{judged[0].message}{more}"


def _failed(result: SuiteResult) -> list[Check]:
    return [check for check in result.checks if check.passed is False]


def _advice(result: SuiteResult, check: Check) -> str:
    if result.suite == "integration":
        return SERVING_FAULT
    if result.suite == "fairness" and check.samples == 0:
        return "name columns of the data under validation.sensitive"
    return ADVICE.get(check.name.partition(":")[0], f"look at {check.name} in the report")


def _unsure(check: Check) -> bool:
    """The accuracy holds its limit, but its interval does not."""
    known = check.limit is not None and check.low is not None
    return bool(
        check.name == "accuracy" and check.passed and known and check.low < check.limit  # type: ignore[operator]
    )
