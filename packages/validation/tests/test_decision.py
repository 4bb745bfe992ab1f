from __future__ import annotations

from agentloop.contracts import Check, SuiteResult
from agentloop.validation import SUITES, make_deployment_decision
from agentloop.validation.decision import ADD_ROWS, STAGE_FIRST
from agentloop.validation.suites import suite_result


def check(name: str, passed: bool | None, samples: int = 100, low: float = 0.95) -> Check:
    return Check(name, 0.96, low, 0.97, samples, 0.9, passed, f"{name} was measured")


def results(**outcomes: Check) -> dict[str, SuiteResult]:
    """All suites pass, but for those given."""
    return {s: suite_result(s, [outcomes.get(s, check("fine", True))], 0.0) for s in SUITES}


def test_all_suites_passing_approve_with_a_reason_each() -> None:
    decision = make_deployment_decision(results())
    assert decision.approved
    assert len(decision.reasons) == len(SUITES)
    assert decision.recommendations == ()


def test_one_failed_check_rejects_and_says_what_to_do() -> None:
    decision = make_deployment_decision(results(performance=check("champion_difference", False)))
    assert not decision.approved
    assert any("champion_difference failed" in reason for reason in decision.reasons)
    assert decision.recommendations == (
        "keep the champion; compare the two runs' data and parameters",
    )


def test_unmeasured_required_suite_is_no_pass() -> None:
    decision = make_deployment_decision(results(integration=check("live", None, samples=0)))
    assert not decision.approved
    assert STAGE_FIRST in decision.recommendations


def test_unmeasured_fairness_is_not_required() -> None:
    assert make_deployment_decision(results(fairness=check("group_gap", None, 0))).approved


def test_missing_suite_is_no_pass() -> None:
    partial = {name: r for name, r in results().items() if name != "robustness"}
    assert not make_deployment_decision(partial).approved


def test_policy_may_relax_what_is_required() -> None:
    unstaged = results(integration=check("live", None, samples=0))
    assert make_deployment_decision(unstaged, required=("performance",)).approved


def test_accuracy_that_holds_by_luck_asks_for_rows() -> None:
    decision = make_deployment_decision(results(performance=check("accuracy", True, low=0.85)))
    assert decision.approved
    assert decision.recommendations == (ADD_ROWS,)
