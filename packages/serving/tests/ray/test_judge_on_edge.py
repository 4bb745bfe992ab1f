"""The judge on the counts of a real HAProxy: what rescues, poison and breakers look like to it."""

from __future__ import annotations

import pytest

from agentloop.contracts import RolloutSpec, StagedModel
from agentloop.contracts.traffic import VersionTraffic
from agentloop.serving.judging.decision import SPLIT_BOUND, Limits, judge
from agentloop.serving.rollout.canary_watch import CanaryWatch

pytestmark = pytest.mark.ray
BLUE, GREEN = "0.1.0-aaaaaaaa-bbbbbbb1", "0.2.0-aaaaaaaa-bbbbbbb2"
SPEC = RolloutSpec(probe=False)
LIMITS = Limits(50, 0.01)


class EdgePlane:
    """The counters of an edge without Ray."""

    def __init__(self, edge) -> None:
        self.edge = edge

    def traffic(self, model) -> list[VersionTraffic]:
        return self.edge.keeper.traffic(model)


@pytest.fixture(autouse=True)
def _calm(edge):
    edge.backend.failing.clear()
    edge.keeper._tripped = {}
    edge.split(0, by_session=False, lease_until=None)


@pytest.fixture
def watching(edge):
    def start(percent, spec=SPEC):
        edge.split(percent)
        watch = CanaryWatch(StagedModel("tiny", GREEN, ""), EdgePlane(edge), [b"{}"], spec)
        watch.begin_step()
        return watch

    return start


def ask(edge, number, headers=None):
    """Statuses seen by the client."""
    connection = edge.connect()
    seen = [edge.ask(headers=headers, connection=connection).status for _ in range(number)]
    connection.close()
    return seen


@pytest.mark.parametrize("percent", [1, 5, 25, 50])
def test_traffic_by_weight_raises_no_suspicion(edge, watching, percent):
    watch = watching(percent)
    assert set(ask(edge, 1000)) == {200}
    judgement = judge(watch.observe(), LIMITS)
    assert judgement.verdict == "promote", judgement
    assert abs(judgement.numbers["canary_requests"] - 10 * percent) <= 1
    assert judgement.numbers["log_e_split"] < 0


def test_a_failing_canary_is_rolled_back_and_no_client_notices(edge, watching):
    watch = watching(5)
    edge.backend.failing.add(GREEN)
    seen = []
    while judge(watch.observe(), LIMITS).verdict != "rollback":
        seen += ask(edge, 10)
        assert len(seen) < 200
    assert set(seen) == {200}
    assert watch.metrics()["canary_errors"] <= 4


def test_requests_that_no_version_can_answer_are_not_the_canarys(edge, watching):
    watch = watching(5)
    ask(edge, 400)
    edge.backend.failing |= {BLUE, GREEN}
    assert set(ask(edge, 100)) == {500}
    judgement = judge(watch.observe(), LIMITS)
    assert judgement.verdict != "rollback", judgement
    assert judgement.reasons[0] != "the router does not split as it should"
    assert judgement.numbers["stable_errors"] >= 95


def test_a_stable_version_that_fails_is_not_the_canarys_fault(edge, watching):
    watch = watching(5)
    ask(edge, 400)
    edge.backend.failing.add(BLUE)
    assert set(ask(edge, 100)) == {200}  # rescued on the canary
    judgement = judge(watch.observe(), LIMITS)
    assert judgement.verdict == "promote", judgement
    assert judgement.numbers["canary_requests"] <= 30
    assert judgement.numbers["canary_errors"] == 0


def test_a_breaker_that_opens_does_not_accuse_the_router(edge, watching):
    watch = watching(50)
    edge.backend.failing.add(GREEN)
    steps = watch.observe()
    while steps[-1].weight > 0:
        ask(edge, 20)
        steps = watch.observe()
    ask(edge, 300)
    assert judge(watch.observe(), LIMITS).numbers["log_e_split"] < SPLIT_BOUND


def test_sessions_are_judged_by_the_absolute_limit_alone(edge, watching):
    watch = watching(50)
    for number in range(40):
        ask(edge, 10, {"x-session-id": f"s{number % 5}"})
    numbers = judge(watch.observe(), LIMITS).numbers
    assert numbers["canary_requests"] + numbers["stable_requests"] == 400
    assert numbers["log_e_split"] == numbers["log_e_errors_relative"] == 0
