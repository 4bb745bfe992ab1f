"""Plans are data."""

from __future__ import annotations

from agentloop.contracts import RolloutSpec, TrafficSplit
from agentloop.serving.rollout_plan import Bake, Probe, Provision, Retire, Shift, plan_stages

SPEC = RolloutSpec()
SETTLED = TrafficSplit("m", {"1": 100.0}, "1", 1)


def percents(stages):
    return [stage.percent for stage in stages if isinstance(stage, Shift)]


def test_a_first_version_goes_to_all_at_once():
    stages = plan_stages(None, "1", SPEC)
    assert stages == (Provision("1"), Probe("1"), Shift("1", 100.0, 0.0, 0.0))


def test_the_next_one_is_shifted_in_steps_then_the_old_one_bakes():
    stages = plan_stages(SETTLED, "2", SPEC)
    assert stages[:2] == (Provision("2"), Probe("2"))
    assert percents(stages) == [10, 50, 100]
    assert stages[-2:] == (Bake("1", 60.0), Retire("1"))


def test_what_is_settled_needs_nothing():
    assert plan_stages(SETTLED, "1", SPEC) == ()


def test_an_interrupted_rollout_goes_on_at_its_step():
    halfway = TrafficSplit("m", {"1": 50.0, "2": 50.0}, "1", 4, lease_until=9.0)
    assert percents(plan_stages(halfway, "2", SPEC)) == [50, 100]


def test_one_that_lost_its_lease_starts_over():
    returned = TrafficSplit("m", {"1": 100.0, "2": 0.0}, "1", 5)
    assert percents(plan_stages(returned, "2", SPEC)) == [10, 50, 100]
