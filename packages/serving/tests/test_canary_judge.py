"""The judge in simulation: rarely wrong, quick to see a bad version, silent without evidence."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from agentloop.serving.canary_judge import Evidence, Limits, absolute_evidence, judge

LIMITS = Limits(min_requests=50, max_error_rate=0.01)


def simulate(rng, weight, canary_rate, stable_rate, limits, requests):
    """Peek after each request; the canary's requests at a rollback, or None."""
    counts = [0, 0, 0, 0]
    on_canary = rng.random(requests) < weight
    failed = rng.random(requests) < np.where(on_canary, canary_rate, stable_rate)
    for canary, bad in zip(on_canary, failed, strict=True):
        counts[0 if canary else 2] += 1
        counts[1 if canary else 3] += bad
        if bad and judge([Evidence(weight, *counts)], limits).verdict == "rollback":
            return counts[0]
    return None


def test_without_traffic_it_holds():
    assert judge([], LIMITS).verdict == "hold"
    assert judge([Evidence(0.1, 0, 0, 0, 0)], LIMITS).verdict == "hold"


def test_enough_clean_answers_in_this_step_promote():
    steps = [Evidence(0.1, 80, 0, 700, 0), Evidence(0.5, 49, 0, 50, 0)]
    assert judge(steps, LIMITS).verdict == "hold"
    steps[-1] = Evidence(0.5, 50, 0, 50, 0)
    assert judge(steps, LIMITS).verdict == "promote"


def test_errors_above_the_limit_without_proof_hold():
    judgement = judge([Evidence(0.1, 50, 1, 450, 0)], LIMITS)
    assert judgement.verdict == "hold"
    assert "not yet beyond doubt" in judgement.reasons[0]


def test_every_judgement_shows_its_numbers():
    assert "1 errors in 50 requests" in judge([Evidence(0.1, 50, 1, 450, 0)], LIMITS).reasons[1]


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
def test_a_version_and_itself_are_rarely_told_apart(weight):
    rng = np.random.default_rng(3)
    limits = Limits(50, 0.02)
    alarms = [simulate(rng, weight, 0.02, 0.02, limits, 3000) for _ in range(200)]
    assert sum(alarm is not None for alarm in alarms) <= 2


@pytest.mark.parametrize("weight", [0.05, 0.1, 0.5, 1.0])
def test_a_version_that_always_fails_is_caught_in_ten_of_its_requests(weight):
    rng = np.random.default_rng(5)
    caught = [simulate(rng, weight, 1.0, 0.001, LIMITS, 1000) for _ in range(50)]
    assert max(found or 1000 for found in caught) <= 10


def test_a_fifth_of_errors_is_caught_in_some_dozens():
    rng = np.random.default_rng(6)
    caught = [simulate(rng, 0.1, 0.2, 0.001, LIMITS, 5000) for _ in range(50)]
    assert median(found or 5000 for found in caught) <= 40


def test_a_trouble_that_hits_both_is_not_the_canarys():
    rng = np.random.default_rng(8)
    limits = Limits(50, 1.0)  # the absolute limit off: only the comparison speaks
    alarms = [simulate(rng, 0.1, 0.5, 0.5, limits, 500) for _ in range(400)]
    assert sum(alarm is not None for alarm in alarms) <= 4  # alpha is 0.01


def test_with_a_limit_of_zero_one_error_is_proof():
    assert absolute_evidence(1000, 0, 0.0) == 0
    assert judge([Evidence(1.0, 1000, 1, 0, 0)], Limits(50, 0.0)).verdict == "rollback"
