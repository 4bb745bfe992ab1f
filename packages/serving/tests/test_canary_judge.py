"""The judge in simulation: rarely wrong, quick to see a bad version, silent without evidence."""

from __future__ import annotations

import json
from statistics import median

import numpy as np
import pytest

from agentloop.contracts import RolloutSpec, ShadowCounts, from_dict, to_dict
from agentloop.serving.judging.decision import Evidence, Limits, judge
from agentloop.serving.judging.e_values import rate_above
from agentloop.serving.judging.evidence import Dealt, LatencyWindow, PredictionBlock
from agentloop.serving.judging.predictions import common_bins, shift_evidence
from agentloop.serving.judging.two_sample import RateBlock

LIMITS = Limits(min_requests=50, max_error_rate=0.01)


def simulate(rng, weight, canary_rate, stable_rate, limits, requests):
    """Peek after each error of the canary, for nothing else speaks against it; the canary's
    requests at a rollback, or None."""
    counts = [0, 0, 0, 0]
    on_canary = rng.random(requests) < weight
    failed = rng.random(requests) < np.where(on_canary, canary_rate, stable_rate)
    for canary, bad in zip(on_canary, failed, strict=True):
        counts[0 if canary else 2] += 1
        counts[1 if canary else 3] += bad
        if bad and canary and judge([Evidence(weight, *counts)], limits).verdict == "rollback":
            return counts[0]
    return None


def test_without_traffic_it_holds():
    assert judge([], LIMITS).verdict == "hold"
    judgement = judge([Evidence(0.1, 0, 0, 0, 0)], LIMITS)
    assert (judgement.verdict, judgement.wanted) == ("hold", 5)


@pytest.mark.parametrize(("weight", "needed"), [(0.01, 5), (0.1, 5), (0.25, 13), (0.5, 25)])
def test_a_step_needs_clean_answers_in_proportion(weight, needed):
    before = Evidence(0.01, 10, 0, 990, 0)
    stable = round(needed / weight * (1 - weight))
    short = [before, Evidence(weight, needed - 1, 0, stable, 0)]
    assert judge(short, LIMITS).verdict == "hold"
    enough = [before, Evidence(weight, needed, 0, stable, 0)]
    assert judge(enough, LIMITS).verdict == "promote"


def test_the_last_step_needs_proof_and_says_how_much():
    steps = [Evidence(0.5, 25, 0, 25, 0), Evidence(1.0, 60, 0, 0, 0)]
    judgement = judge(steps, LIMITS)
    assert judgement.verdict == "hold"
    assert "not proven" in judgement.reasons[0]
    steps[-1] = Evidence(1.0, 60 + judgement.wanted, 0, 0, 0)
    assert judge(steps, LIMITS).verdict == "promote"
    steps[-1] = Evidence(1.0, 60 + judgement.wanted - 1, 0, 0, 0)
    assert judge(steps, LIMITS).verdict == "hold"


def test_a_step_below_100_can_be_the_last_that_compares():
    steps = [Evidence(0.5, 60, 0, 60, 0)]
    assert judge(steps, LIMITS).verdict == "promote"
    assert judge(steps, LIMITS, final=True).verdict == "hold"


def test_errors_above_the_limit_without_proof_hold():
    judgement = judge([Evidence(0.1, 50, 1, 450, 0)], LIMITS)
    assert judgement.verdict == "hold"
    assert "not yet beyond doubt" in judgement.reasons[0]


def test_every_judgement_shows_its_numbers():
    judgement = judge([Evidence(0.1, 50, 1, 450, 0)], LIMITS)
    assert "1 errors in 50 requests" in judgement.reasons[1]
    numbers = judgement.numbers
    assert numbers["canary_error_rate_low"] < 0.02 < numbers["canary_error_rate_high"]
    for test in ("errors_relative", "errors_absolute", "not_inferior", "split"):
        assert f"log_e_{test}" in judgement.numbers
        assert judgement.numbers[f"bound_{test}"] > 0
    json.dumps(dict(judge([Evidence(1.0, 9, 1, 0, 0)], Limits(5, 0.0)).numbers), allow_nan=False)


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
    assert rate_above(1000, 0, 0.0) == 0
    assert judge([Evidence(1.0, 1000, 1, 0, 0)], Limits(50, 0.0)).verdict == "rollback"


def test_the_parts_of_alpha_add_up():
    spec = RolloutSpec(latency_budget_ms=10, max_disagreement=0.1, max_prediction_shift=0.1)
    for limits in (LIMITS, Limits.of(spec)):
        tests = [n for n in judge([], limits).numbers if n.startswith("log_e_")]
        parts = [
            np.exp(-limits.bound(t.removeprefix("log_e_")))
            for t in tests
            if t not in ("log_e_split", "log_e_not_inferior")
        ]
        assert sum(parts) == pytest.approx(0.01)


def test_a_router_that_does_not_split_by_weight_holds_even_beside_errors():
    skewed = Evidence(0.05, 400, 3, 600, 0)
    limits = Limits(50, 0.02)
    judgement = judge([skewed], limits)
    assert judgement.verdict == "hold"
    assert judgement.reasons[0] == "the router does not split as it should"
    assert judge([Evidence(0.05, 400, 200, 600, 0)], limits).verdict == "rollback"
    assert judge([Evidence(0.05, 55, 0, 945, 0)], limits).verdict == "promote"


def test_weights_that_whole_numbers_cannot_meet_are_no_broken_router():
    steps = [Evidence(1 / 3, 3_340_000, 0, 6_660_000, 0)]
    assert judge(steps, LIMITS).numbers["log_e_split"] < 0
    assert judge([Evidence(1 / 3, 3_400_000, 0, 6_600_000, 0)], LIMITS).verdict == "hold"


def test_sessions_are_no_evidence_about_the_router_or_of_odds():
    sticky = Evidence(0.05, 400, 3, 600, 0, dealt=Dealt(0, 0, 0, 0))
    judgement = judge([sticky], Limits(50, 0.02))
    assert judgement.verdict == "promote"
    assert judgement.numbers["log_e_split"] == judgement.numbers["log_e_errors_relative"] == 0


def test_rescues_that_flood_the_canary_do_not_accuse_the_router():
    flooded = Evidence(0.05, 10, 0, 290, 100, dealt=Dealt(110, 0, 290, 100))
    assert judge([flooded], LIMITS).numbers["log_e_split"] == 0


SLOW = Limits(50, 0.01, latency_budget_ms=100.0)


def windows(canary_slow, stable_slow, number):
    return (LatencyWindow(20, canary_slow, 20, stable_slow),) * number


def test_a_slow_canary_is_rolled_back_within_seconds():
    steps = [Evidence(0.5, 80, 0, 80, 0, windows=windows(20, 0, 4))]
    judgement = judge(steps, SLOW)
    assert judgement.verdict == "rollback"
    assert "100 ms" in judgement.reasons[0]


def test_one_pause_of_a_replica_is_no_proof():
    pause = (LatencyWindow(200, 200, 200, 0),)
    steps = [Evidence(0.5, 2200, 0, 2200, 0, windows=pause + windows(0, 0, 10))]
    assert judge(steps, SLOW).verdict != "rollback"


def test_slow_answers_of_both_are_not_held_against_the_canary_alone():
    steps = [Evidence(0.5, 4000, 0, 4000, 0, windows=windows(4, 4, 200))]
    numbers = judge(steps, Limits(50, 0.01, latency_budget_ms=100.0, max_slow_rate=0.5)).numbers
    assert numbers["log_e_slow_relative"] <= 0


def test_a_promotion_under_a_latency_budget_needs_times():
    steps = [Evidence(1.0, 400, 0, 0, 0)]
    assert "how long" in judge(steps, SLOW).reasons[0]
    steps = [Evidence(1.0, 400, 0, 0, 0, windows=(LatencyWindow(100, 0, 0, 0),))]
    assert judge(steps, SLOW).verdict == "promote"


SHADOW = Limits(50, 0.01, max_disagreement=0.02)


def test_a_shadow_that_agrees_is_promoted_on_enough_copies():
    for compared, verdict in ((49, "hold"), (80, "hold"), (200, "promote")):
        steps = [Evidence(0.0, 0, 0, 0, 0, shadow=ShadowCounts(compared, 0.0))]
        judgement = judge(steps, SHADOW, final=True)
        assert judgement.verdict == verdict
        assert bool(judgement.wanted) == (verdict == "hold")


def test_a_shadow_that_disagrees_or_fails_is_rolled_back():
    disagreeing = [Evidence(0.0, 0, 0, 0, 0, shadow=ShadowCounts(100, 20.5))]
    assert "disagrees" in judge(disagreeing, SHADOW).reasons[0]
    failing = [Evidence(0.0, 0, 0, 0, 0, shadow=ShadowCounts(0, 0.0, failed=10))]
    assert "error rate" in judge(failing, SHADOW).reasons[0]


SHIFT = Limits(50, 0.01, max_prediction_shift=0.1)


def blocks(rng, canary, stable, number, n=(5, 45)):
    names = ["a", "b", "c"]
    for _ in range(number):
        drawn = rng.multinomial(n[0], canary), rng.multinomial(n[1], stable)
        yield PredictionBlock(*(dict(zip(names, d.tolist(), strict=True)) for d in drawn))


def test_other_predictions_are_found_and_a_daily_cycle_is_not():
    rng = np.random.default_rng(1)
    found = shift_evidence(blocks(rng, [0.3, 0.3, 0.4], [0.7, 0.2, 0.1], 80), 0.1)
    assert found >= SHIFT.bound("predictions")
    worst = -np.inf
    for _ in range(20):
        cycling = []
        for hour in range(60):
            a = 0.5 + 0.4 * np.sin(hour / 10)
            cycling += blocks(rng, [a, (1 - a) / 2, (1 - a) / 2], [a, (1 - a) / 2, (1 - a) / 2], 1)
        worst = max(worst, shift_evidence(cycling, 0.1))
    assert worst < SHIFT.bound("predictions")


def test_a_shift_within_the_limit_is_allowed():
    rng = np.random.default_rng(2)
    allowed = shift_evidence(blocks(rng, [0.49, 0.3, 0.21], [0.4, 0.3, 0.3], 200), 0.1)
    assert allowed < SHIFT.bound("predictions")


def test_versions_compare_in_the_bins_that_both_know():
    old, new = {"aa:0": 3.0, "bb:1": 3.0}, {"cc:0": 1.0, "bb:0": 1.0}
    assert common_bins(new, old) == ({"bb:0": 1.0}, {"bb:1": 3.0})
    assert common_bins({":a": 1.0}, {":a:b": 2.0}) == ({":a": 1.0}, {":a:b": 2.0})
    assert common_bins(new, {"dd:0": 1.0}) == ({}, {})


def test_a_less_accurate_canary_is_rolled_back_when_labels_come():
    limits = Limits(50, 0.01, max_accuracy_loss=0.02)
    good = Evidence(0.5, 400, 0, 400, 0, labels=(RateBlock(50, 45, 50, 45),) * 8)
    assert judge([good], limits).verdict == "promote"
    bad = Evidence(0.5, 400, 0, 400, 0, labels=(RateBlock(50, 45, 50, 30),) * 8)
    judgement = judge([bad], limits)
    assert judgement.verdict == "rollback"
    assert "accuracy" in judgement.reasons[0]
    assert judgement.numbers["canary_accuracy"] == 0.6


def test_a_canary_without_a_ready_replica_holds():
    judgement = judge([Evidence(0.5, 400, 0, 400, 0, ready=False)], LIMITS)
    assert (judgement.verdict, judgement.wanted) == ("hold", 0)


def test_evidence_survives_the_control_store():
    evidence = Evidence(
        0.5,
        4,
        1,
        5,
        0,
        dealt=Dealt(1, 0, 2, 0),
        windows=(LatencyWindow(3, 1, 2, 0),),
        predictions=(PredictionBlock({":a": 1.5}, {":b": 2.0}),),
        labels=(RateBlock(1.0, 1.0, 2.0, 1.0),),
        shadow=ShadowCounts(3, 0.5, 1, 0),
        ready=False,
    )
    assert from_dict(Evidence, json.loads(json.dumps(to_dict(evidence)))) == evidence
