"""Plans are data."""

from __future__ import annotations

import pytest

from agentloop.contracts import PlanOutdated, RolloutSpec, TrafficSplit
from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.serving.control.rollout_plan import (
    Bake,
    Probe,
    Promote,
    Provision,
    Retire,
    RolloutPlan,
    Shadow,
    Shift,
    describe,
    held_to,
    label,
    plan_rollout,
    plan_stages,
    remaining,
)

SPEC = RolloutSpec()
SETTLED = TrafficSplit("m", {"1": 100.0}, "1", 1)
HALFWAY = TrafficSplit("m", {"1": 50.0, "2": 50.0}, "1", 4, lease_until=9.0)


def percents(stages):
    return [stage.percent for stage in stages if isinstance(stage, Shift)]


def planned(current=SETTLED, **spec):
    return plan_stages(current, "2", RolloutSpec(**spec))


def test_a_first_version_goes_to_all_at_once():
    assert plan_stages(None, "1", SPEC) == (Provision("1"), Probe("1"), Promote("1"))


def test_the_next_one_is_shifted_in_steps_then_the_old_one_bakes():
    stages = planned()
    assert stages[:2] == (Provision("2"), Probe("2"))
    assert percents(stages) == [1, 5, 10, 25, 50, 100]
    assert stages[-3:] == (Promote("2"), Bake("1", 60.0), Retire("1"))


@pytest.mark.parametrize(
    ("spec", "shares"),
    [
        ({"strategy": "linear", "step_percent": 30}, [30, 60, 90, 100]),
        ({"strategy": "blue-green"}, [100]),
        ({"strategy": "shadow"}, [100]),
        ({"strategy": "ab", "ab_percent": 20}, [20, 100]),
        ({"steps": (50, 100)}, [50, 100]),
    ],
)
def test_each_strategy_has_its_shares(spec, shares):
    assert percents(planned(**spec)) == shares


def test_shadow_comes_before_the_first_share():
    stages = planned(strategy="shadow", max_wait_seconds=7)
    assert stages[2] == Shadow("2", 100.0, 7.0)
    assert planned(shadow_percent=5)[2] == Shadow("2", 5.0, 30.0)
    assert not [s for s in planned() if isinstance(s, Shadow)]


def test_an_ab_test_splits_by_session_and_the_last_share_does_not():
    shifts = [s for s in planned(strategy="ab") if isinstance(s, Shift)]
    assert [s.by_session for s in shifts] == [True, False]


def test_what_is_settled_needs_nothing():
    assert plan_stages(SETTLED, "1", SPEC) == ()


def test_an_interrupted_rollout_goes_on_at_its_step():
    assert percents(planned(HALFWAY)) == [50, 100]


def test_one_that_lost_its_lease_starts_over():
    returned = TrafficSplit("m", {"1": 100.0, "2": 0.0}, "1", 5)
    assert percents(planned(returned)) == [1, 5, 10, 25, 50, 100]


def test_what_the_log_says_is_done_is_not_done_again():
    stages = planned(shadow_percent=5)
    left = remaining(stages, SETTLED, "2", {"probe", "shadow 5%", "shift 1%"})
    assert [label(s) for s in left[:2]] == ["provision", "shift 1%"]  # a share is what is in force
    taken = TrafficSplit("m", {"1": 0.0, "2": 100.0}, "2", 9)
    assert [s.kind for s in remaining(stages, taken, "2", ())] == ["provision", "bake", "retire"]


@pytest.mark.parametrize("strategy", ["canary", "linear", "blue-green", "shadow", "ab"])
def test_a_plan_travels_as_json(strategy):
    plan = plan_rollout(SETTLED, "m", "2", RolloutSpec(strategy=strategy, shadow_percent=3))
    assert from_dict(RolloutPlan, to_dict(plan)) == plan
    assert canonical_json(to_dict(plan))
    assert all(describe(stage) for stage in plan.stages)
    assert len({label(stage) for stage in plan.stages}) == len(plan.stages)


def test_a_plan_is_outdated_when_somebody_else_is_stable():
    plan = plan_rollout(SETTLED, "m", "2", SPEC)
    plan.check(SETTLED)
    plan.check(TrafficSplit("m", {"2": 100.0}, "2", 7))  # it is done already
    with pytest.raises(PlanOutdated, match="1 was stable, and now 3 is"):
        plan.check(TrafficSplit("m", {"3": 100.0}, "3", 2))
    with pytest.raises(PlanOutdated, match="now nothing is"):
        plan.check(None)


def test_a_plan_says_what_the_judge_holds_the_version_to():
    everything = RolloutSpec(latency_budget_ms=50, max_disagreement=0.02, max_prediction_shift=0.1)
    assert [line.split(":")[0] for line in held_to(everything)] == [
        "errors",
        "latency",
        "shadow",
        "predictions",
        "labels, as they come",
    ]
    assert len(held_to(RolloutSpec(max_accuracy_loss=None))) == 1
