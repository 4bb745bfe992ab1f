"""The circuit breaker as a decision."""

from __future__ import annotations

from agentloop.serving.edge.breaker import FIRST_SECONDS, MOST_SECONDS, OPENS_AT, Tripped, look
from agentloop.serving.edge.haproxy_stats import Counts

KEY, STABLE = ("m", "2"), ("m", "1")


def step(tripped, requests, errors, now=100.0, key=KEY):
    before, after = {key: Counts(1000, 100)}, {key: Counts(1000 + requests, 100 + errors)}
    return look(tripped, before, after, {STABLE}, now)


def test_it_opens_where_most_requests_fail():
    assert step({}, OPENS_AT, OPENS_AT) == {KEY: Tripped(100 + FIRST_SECONDS, FIRST_SECONDS)}
    assert step({}, OPENS_AT - 1, OPENS_AT - 1) == {}
    assert step({}, 3 * OPENS_AT, OPENS_AT) == {}


def test_it_never_opens_for_the_stable_version():
    assert step({}, 500, 500, key=STABLE) == {}


def test_the_first_look_at_a_version_proves_nothing():
    assert look({}, {}, {KEY: Counts(500, 500)}, {STABLE}, 1.0) == {}


def test_it_stays_open_for_its_time_then_tries_then_closes():
    tripped = {KEY: Tripped(101.0, 1.0)}
    assert step(tripped, 0, 0, now=100.5) == tripped
    assert not tripped[KEY].is_open(101.0)
    assert step(tripped, 50, 0, now=101.5) == tripped  # on trial
    assert step(tripped, 50, 0, now=102.5) == {}


def test_a_failed_trial_opens_it_for_longer_up_to_a_limit():
    again = step({KEY: Tripped(101.0, 1.0)}, 5, 5, now=101.2)
    assert again == {KEY: Tripped(103.2, 2.0)}
    longest = step({KEY: Tripped(101.0, MOST_SECONDS)}, 5, 5, now=101.2)
    assert longest[KEY].seconds == MOST_SECONDS


def test_a_version_that_is_gone_is_forgotten():
    assert look({KEY: Tripped(101.0, 1.0)}, {}, {}, {STABLE}, 100.0) == {}
