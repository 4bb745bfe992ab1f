"""The judge's mathematics, by exact enumeration: no null distribution makes evidence grow."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.serving.judging.e_values import (
    clean_trials_needed,
    mean_above,
    rate_above,
    rate_below,
    rate_interval,
    share_differs,
)
from agentloop.serving.judging.two_sample import RateBlock, RateProcess, block_log_e, rate_exceeds

rates = st.floats(0.01, 0.99)


def binomial(n, k, p):
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def expectation(n, p, log_e):
    """Over all outcomes of n trials with probability p."""
    return sum(binomial(n, k, p) * math.exp(log_e(k)) for k in range(n + 1))


@given(limit=st.floats(0.001, 0.9), part=st.floats(0, 1), n=st.integers(1, 30))
def test_a_rate_within_its_limit_is_not_expected_to_look_above_it(limit, part, n):
    assert expectation(n, limit * part, lambda k: rate_above(n, k, limit)) <= 1 + 1e-9


@given(limit=st.floats(0.01, 0.9), part=st.floats(0, 1), n=st.integers(1, 30))
def test_a_rate_above_its_limit_is_not_expected_to_look_below_it(limit, part, n):
    rate = limit + (1 - limit) * part
    assert expectation(n, rate, lambda k: rate_below(n, k, limit)) <= 1 + 1e-9


@given(share=st.floats(0.01, 0.99), n=st.integers(1, 40))
def test_a_true_share_is_a_martingale(share, n):
    assert expectation(n, share, lambda k: share_differs(k, n - k, share)) == pytest.approx(1)


@given(share=st.floats(0.01, 0.99), off=st.floats(-1, 1), n=st.integers(1, 40))
def test_a_share_within_the_tolerance_does_not_pay(share, off, n):
    true = min(max(share + 0.05 * off, 0.0), 1.0)
    assert expectation(n, true, lambda k: share_differs(k, n - k, share, 0.05)) <= 1 + 1e-6


@given(values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_bets_on_values_of_any_spread_do_not_pay_while_the_mean_is_within_the_limit(values):
    """Each value is high or low at will, its mean exactly at the limit."""
    limit = 0.3
    total = 0.0
    for outcome in itertools.product((0, 1), repeat=len(values)):
        chance, drawn = 1.0, []
        for up, (high, low) in zip(outcome, values, strict=True):
            top, bottom = limit + (1 - limit) * high, limit * low
            p = (limit - bottom) / (top - bottom) if top > bottom else 1.0
            chance *= p if up else 1 - p
            drawn.append(top if up else bottom)
        total += chance * math.exp(mean_above(drawn, limit, 0.0))
    assert total <= 1 + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    n=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    bet=st.tuples(rates, rates),
    second=st.floats(0, 1),
    slack=st.floats(0, 1),
    margin=st.floats(0, 0.5),
)
def test_a_block_does_not_pay_while_the_rates_are_within_the_margin(n, bet, second, slack, margin):
    first = min(1.0, second + margin) * slack
    total = sum(
        binomial(n[0], a, first)
        * binomial(n[1], b, second)
        * math.exp(block_log_e(RateBlock(n[0], a, n[1], b), *bet, margin))
        for a in range(n[0] + 1)
        for b in range(n[1] + 1)
    )
    assert total <= 1 + 1e-6


@settings(max_examples=20, deadline=None)
@given(cycle=st.lists(rates, min_size=3, max_size=3), margin=st.floats(0, 0.2))
def test_bets_that_follow_the_past_do_not_pay_through_a_cycle(cycle, margin):
    """Three blocks of one trial by two; both rates move together, the margin used up."""
    total = 0.0
    outcomes = list(itertools.product((0, 1), (0, 1, 2)))
    for path in itertools.product(outcomes, repeat=3):
        process, chance = RateProcess(margin), 1.0
        for rate, (a, b) in zip(cycle, path, strict=True):
            first = min(1.0, rate + margin)
            chance *= binomial(1, a, first) * binomial(2, b, rate)
            process.add(RateBlock(1, a, 2, b))
        total += chance * math.exp(process.log_e)
    assert total <= 1 + 1e-6


def test_what_differs_is_found():
    assert rate_above(100, 30, 0.05) > 20
    assert rate_below(1000, 1, 0.05) > 10
    assert share_differs(500, 500, 0.05) > 100
    assert mean_above([1.0] * 4, 0.05, 0.0) > 7
    blocks = [RateBlock(20, 16, 20, 6)] * 12
    assert rate_exceeds(blocks, 0.1) > 10
    assert rate_exceeds([RateBlock(b.second_trials, 6, 20, 16) for b in blocks], 0.1) <= 0


def test_clean_trials_needed_are_just_enough():
    for events in (0, 1, 3):
        more = clean_trials_needed(50, events, 0.02, 3.0)
        assert rate_below(50 + more, events, 0.02) >= 3.0
        assert rate_below(50 + more - 1, events, 0.02) < 3.0
    assert clean_trials_needed(10_000, 0, 0.02, 3.0) == 0


def test_confidence_sequences_hold_the_rate_all_the_way():
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(100):
        events = np.cumsum(rng.random(400) < 0.1)
        looks = (rate_interval(n + 1, int(events[n]), 0.05) for n in range(0, 400, 10))
        missed += any(not low <= 0.1 <= high for low, high in looks)
    assert missed <= 8
    low, high = rate_interval(1000, 100, 0.05)
    assert 0.06 < low < 0.1 < high < 0.15
    assert rate_interval(0, 0, 0.05) == (0.0, 1.0)
