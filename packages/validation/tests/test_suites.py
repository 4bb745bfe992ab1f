from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agentloop.contracts import GateSpec
from agentloop.validation import Candidate, RecentTraffic, open_candidate
from agentloop.validation.data_drift import data_drift_checks
from agentloop.validation.fairness import fairness_checks, groups_of
from agentloop.validation.http_replica import LoadSample
from agentloop.validation.performance import champion_check, load_checks, quality_check
from agentloop.validation.robustness import PGD_STEPS, attack, robustness_checks

SPEC = GateSpec()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def clean(candidate: Candidate) -> Any:
    return candidate.answers(candidate.matrix)


def by_name(checks: Any) -> dict[str, Any]:
    return {check.name: check for check in checks}


def test_good_model_holds_its_limit(candidate: Candidate) -> None:
    check = quality_check(candidate, clean(candidate), SPEC, rng())
    assert check.passed
    assert check.samples == candidate.rows
    assert check.low < check.value < check.high  # type: ignore[operator]


def test_bad_model_misses_its_limit(candidate: Candidate) -> None:
    wrong = np.full(candidate.rows, "malignant", object)
    assert quality_check(candidate, wrong, SPEC, rng()).passed is False


def test_regression_is_judged_by_r2(regressor: Candidate) -> None:
    check = quality_check(regressor, clean(regressor), SPEC, rng())
    assert check.passed
    assert check.message.startswith("R²")


def test_champion_on_equal_terms_is_no_regression(candidate: Candidate) -> None:
    same = champion_check(candidate, clean(candidate), clean(candidate), "0.9.0", SPEC, rng())
    assert same.passed
    assert same.value == 0


def test_clear_regression_is_refused_and_a_hint_of_one_is_not(candidate: Candidate) -> None:
    truth = candidate.truth
    flipped = np.where(truth == "benign", "malignant", "benign").astype(object)
    some = np.arange(candidate.rows)
    spoilt, hint = np.where(some < 40, flipped, truth), np.where(some < 4, flipped, truth)
    assert champion_check(candidate, spoilt, truth, "0.9.0", SPEC, rng()).passed is False
    assert champion_check(candidate, hint, truth, "0.9.0", SPEC, rng()).passed


def test_latency_is_judged_on_its_interval() -> None:
    slow = LoadSample(np.full(100, 900.0), 50, 0.5, 4)
    quick = LoadSample(np.array([2.0] * 99 + [900.0]), 50, 0.5, 4)
    assert by_name(load_checks(slow, SPEC))["latency_p99_ms"].passed is False
    checks = by_name(load_checks(quick, SPEC))
    assert checks["latency_p99_ms"].passed
    assert checks["throughput_rps"].value == 100


def test_without_a_replica_latency_is_not_measured() -> None:
    assert {(c.samples, c.passed) for c in load_checks(None, SPEC)} == {(0, None)}


def test_robustness_reports_every_harm(candidate: Candidate) -> None:
    checks = by_name(robustness_checks(candidate, clean(candidate), SPEC, rng()))
    assert list(checks) == ["noise_drop", "missing_drop", "fgsm_drop", "pgd_drop"]
    assert checks["noise_drop"].passed
    assert checks["pgd_drop"].passed is None
    assert checks["pgd_drop"].value >= checks["noise_drop"].value


def test_adversarial_limit_is_judged_where_it_is_set(candidate: Candidate) -> None:
    strict = GateSpec(max_adversarial_drop=0.0)
    checks = by_name(robustness_checks(candidate, clean(candidate), strict, rng()))
    assert checks["pgd_drop"].passed is (checks["pgd_drop"].value <= 0)


@pytest.mark.parametrize("kind", ["candidate", "regressor"])
def test_attack_stays_in_its_ball_and_does_harm(kind: str, request: pytest.FixtureRequest) -> None:
    subject: Candidate = request.getfixturevalue(kind)
    rows, numeric = np.arange(subject.rows), len(subject.pipeline.numeric)
    moved = attack(subject, rows, PGD_STEPS, rng())
    change = np.abs(moved - subject.matrix)
    assert change[:, :numeric].max() <= 0.1001
    assert change[:, numeric:].max() == 0
    harmed = subject.quality(subject.answers(moved), rng()).value
    assert harmed < subject.quality(clean(subject), rng()).value


def test_no_sensitive_column_is_not_measured(candidate: Candidate) -> None:
    (check,) = fairness_checks(candidate, clean(candidate), SPEC, rng())
    assert (check.passed, check.samples) == (None, 0)


def test_groups_served_alike_pass(candidate: Candidate) -> None:
    spec = GateSpec(sensitive=("site", "mean_radius"))
    checks = by_name(fairness_checks(candidate, clean(candidate), spec, rng()))
    assert checks["group_gap:site"].passed
    assert checks["positive_rate_gap:site"].passed is None
    assert checks["group:site=north"].samples + checks["group:site=south"].samples == candidate.rows
    assert "group:mean_radius=quarter 4" in checks


def test_group_served_worse_is_refused(candidate: Candidate) -> None:
    wrong = np.where(candidate.truth == "benign", "malignant", "benign").astype(object)
    answers = np.where(candidate.columns["site"] == "north", wrong, candidate.truth)
    checks = by_name(fairness_checks(candidate, answers, GateSpec(sensitive=("site",)), rng()))
    assert checks["group_gap:site"].passed is False


def test_unknown_sensitive_column_is_refused(candidate: Candidate) -> None:
    (check,) = fairness_checks(candidate, clean(candidate), GateSpec(sensitive=("age",)), rng())
    assert check.passed is False


def test_missing_values_are_a_group_of_their_own() -> None:
    groups = groups_of(np.array(["a", None, "a"], object))
    assert {name: rows.tolist() for name, rows in groups.items()} == {"a": [0, 2], "missing": [1]}


def test_held_out_rows_like_the_training_rows_pass(make_version: Callable[..., Any]) -> None:
    bundle, candidate = open_candidate(make_version())
    checks = by_name(data_drift_checks(candidate, bundle.reference, None, rng()))
    assert checks["holdout_vs_training"].passed
    assert checks["recent_traffic"].samples == 0


def test_moved_held_out_rows_are_refused(make_version: Callable[..., Any]) -> None:
    bundle, candidate = open_candidate(make_version(shift=1.0))
    check = next(data_drift_checks(candidate, bundle.reference, None, rng()))
    assert check.passed is False
    assert "mean_texture" in check.message


def test_traffic_that_moved_on_is_refused(make_version: Callable[..., Any]) -> None:
    bundle, candidate = open_candidate(make_version())
    column = next(c for c in bundle.reference.columns if c.name == "mean_texture")
    live = column.fold(np.repeat(candidate.columns["mean_texture"] + 5, 20))
    traffic = RecentTraffic(bundle.reference, {"mean_texture": live.tolist()})
    checks = by_name(data_drift_checks(candidate, bundle.reference, traffic, rng()))
    assert checks["recent_traffic"].passed is False
    assert checks["recent_traffic"].samples == candidate.rows * 20
