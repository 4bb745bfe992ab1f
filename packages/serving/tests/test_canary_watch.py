"""The watch turns counters that only grow into steps, windows and blocks, and probes for more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentloop.contracts import RolloutSpec, StagedModel
from agentloop.contracts.traffic import ShadowCounts, VersionEvidence, VersionTraffic
from agentloop.serving.judging.counts import latency_bucket
from agentloop.serving.judging.decision import Limits, judge
from agentloop.serving.ports import Replay
from agentloop.serving.rollout.canary_watch import MAX_BATCH, CanaryWatch

GREEN = StagedModel("m", "green", "")


class ScriptedPlane:
    """Counters that the test sets; a probe falls on the canary by its weight."""

    def __init__(self, percent=10.0, by_probe=True):
        self.green = VersionTraffic("green", percent, 0, 0, ready=True, dealt=0)
        self.blue = VersionTraffic("blue", 100.0 - percent, 0, 0, ready=True, dealt=0)
        self.sent = []
        self.by_probe = by_probe

    def traffic(self, model):
        assert model == "m"
        return [self.blue, self.green]

    def weigh(self, percent):
        self.green = replace(self.green, weight=percent)
        self.blue = replace(self.blue, weight=100.0 - percent)

    def serve(self, green, blue, green_errors=0):
        self.green = replace(
            self.green,
            requests=self.green.requests + green,
            errors=self.green.errors + green_errors,
            dealt=self.green.dealt + green,
            dealt_errors=self.green.dealt_errors + green_errors,
        )
        requests, dealt = self.blue.requests + blue, self.blue.dealt + blue
        self.blue = replace(self.blue, requests=requests, dealt=dealt)

    def tell(self, green=None, blue=None):
        self.green = replace(self.green, evidence=green or self.green.evidence)
        self.blue = replace(self.blue, evidence=blue or self.blue.evidence)

    def replay(self, path, bodies, count):
        assert path == "/v2/models/m/infer"
        self.sent.append(count)
        if self.by_probe:
            share = round(count * self.green.weight / 100)
            self.serve(share, count - share)
        return Replay(count, 0)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def watch(plane, clock, **settings):
    spec = RolloutSpec(**{"probe": False, **settings})
    found = CanaryWatch(GREEN, plane, [b"{}"], spec, clock)
    found.begin_step()
    return found


def test_each_step_counts_from_its_own_beginning(clock):
    plane = ScriptedPlane(10)
    plane.serve(7, 70, green_errors=2)
    watching = watch(plane, clock)
    plane.serve(10, 90, green_errors=1)
    (first,) = watching.observe()
    assert (first.weight, first.canary_requests, first.canary_errors) == (0.1, 10, 1)
    plane.weigh(50)
    watching.begin_step()
    plane.serve(5, 5)
    steps = watching.observe()
    assert [s.canary_requests for s in steps] == [10, 5]
    assert steps[1].weight == 0.5
    assert watching.metrics()["canary_errors"] == 1


def test_a_weight_that_changes_under_way_begins_another_step(clock):
    plane = ScriptedPlane(50)
    watching = watch(plane, clock)
    plane.serve(50, 50)
    watching.observe()
    plane.weigh(0)  # a breaker opened
    plane.serve(0, 100)
    steps = watching.observe()
    assert [(s.weight, s.stable_requests) for s in steps] == [(0.5, 50), (0.0, 0)]
    plane.serve(0, 400)
    assert judge(watching.observe(), Limits(50, 0.01)).numbers["log_e_split"] <= 0


def test_counters_that_begin_anew_are_not_subtracted(clock):
    plane = ScriptedPlane(50)
    watching = watch(plane, clock)
    plane.serve(50, 50)
    watching.observe()
    plane.green = replace(plane.green, requests=3, dealt=3, errors=0)
    steps = watching.observe()
    assert [s.canary_requests for s in steps] == [50, 0]


def test_probes_are_as_many_as_the_judge_wants(clock):
    plane = ScriptedPlane(1)
    watching = watch(plane, clock, probe=True)
    steps = watching.observe()
    assert plane.sent == [MAX_BATCH]
    while judge(steps, Limits(50, 0.01)).verdict == "hold":
        steps = watching.observe()
    assert sum(plane.sent) == 500  # five answers at one percent
    plane.weigh(100)
    watching.begin_step()
    while judge(watching.observe(), Limits(50, 0.01)).verdict == "hold":
        pass
    assert sum(plane.sent) - 500 <= 400  # what proof costs at 100%
    assert watching.metrics()["probes"] == sum(plane.sent)


def test_without_leave_and_among_sessions_it_does_not_probe(clock):
    for settings in ({"probe": False}, {"probe": True, "strategy": "ab"}):
        plane = ScriptedPlane(50)
        (step,) = watch(plane, clock, **settings).observe()
        assert plane.sent == []
    assert step.in_turn.canary == 0


def test_a_shadow_is_probed_now_and_then_until_its_copies_are_compared(clock):
    plane = ScriptedPlane(0, by_probe=False)
    watching = watch(plane, clock, probe=True, strategy="shadow", shadow_percent=50)
    watching.observe()
    watching.observe()
    assert plane.sent == [100]
    clock.now = 1.0
    plane.tell(blue=VersionEvidence(answers=100, shadows={"green": ShadowCounts(48, 1.5)}))
    (step,) = watching.observe()
    assert plane.sent == [100, 4]
    assert step.shadow == ShadowCounts(48, 1.5)


def test_slow_answers_are_gathered_in_windows(clock):
    plane = ScriptedPlane(50)
    watching = watch(plane, clock, latency_budget_ms=100.0)
    fast, slow = latency_bucket(5), latency_bucket(300)
    plane.tell(
        VersionEvidence(10, latency={fast: 8, slow: 2}), VersionEvidence(5, latency={fast: 5})
    )
    assert watching.observe()[0].windows == ()
    clock.now = 0.6
    (step,) = watching.observe()
    (window,) = step.windows
    assert (window.canary, window.canary_slow, window.stable, window.stable_slow) == (10, 2, 5, 0)
    clock.now = 1.2
    plane.tell(VersionEvidence(12, latency={fast: 10, slow: 2}))
    assert watching.observe()[0].windows[1].canary == 2


def test_predictions_and_labels_are_compared_in_blocks_across_steps(clock):
    plane = ScriptedPlane(50)
    watching = watch(plane, clock, max_prediction_shift=0.1)
    plane.tell(VersionEvidence(2, predictions={":a": 2.0}))
    clock.now = 1.0
    assert watching.observe()[0].predictions == ()  # nothing of stable's yet
    watching.begin_step()
    plane.tell(
        VersionEvidence(3, predictions={":a": 3.0}, labelled=4.0, right=3.0),
        VersionEvidence(1, predictions={":b": 1.0}, labelled=2.0, right=2.0),
    )
    clock.now = 2.0
    step = watching.observe()[-1]
    (block,) = step.predictions
    assert (block.canary, block.stable) == ({":a": 3.0}, {":b": 1.0})
    assert step.labels[0].second_events == 3.0


def test_an_edge_actor_that_began_anew_does_not_undo_blocks(clock):
    plane = ScriptedPlane(50)
    plane.tell(VersionEvidence(100, predictions={":a": 100.0}), VersionEvidence(9))
    watching = watch(plane, clock, max_prediction_shift=0.1)
    plane.tell(
        VersionEvidence(1, predictions={":a": 1.0}), VersionEvidence(1, predictions={":a": 1.0})
    )
    clock.now = 1.0
    assert watching.observe()[-1].predictions == ()
    plane.tell(
        VersionEvidence(3, predictions={":a": 3.0}), VersionEvidence(2, predictions={":a": 2.0})
    )
    clock.now = 2.0
    (block,) = watching.observe()[-1].predictions
    assert block.canary == {":a": 2.0}
