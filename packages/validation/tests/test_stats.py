from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from agentloop.validation.stats import (
    mcnemar_exact,
    mean_interval,
    quantile_interval,
    r2,
    r2_difference,
    r2_interval,
    wilson,
)


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (137, 143), (143, 143), (1, 1)])
def test_wilson_agrees_with_scipy(hits: int, total: int) -> None:
    expected = scipy_stats.binomtest(hits, total).proportion_ci(method="wilson")
    value, low, high = wilson(hits, total)
    assert (value, low, high) == pytest.approx((hits / total, expected.low, expected.high))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 9), (12, 12), (40, 11)])
def test_mcnemar_agrees_with_the_binomial_test(first: int, second: int) -> None:
    n = first + second
    expected = scipy_stats.binomtest(first, n).pvalue if n else 1.0
    assert mcnemar_exact(first, second) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [100, 20_000])
def test_mean_interval_covers_the_truth_about_19_times_in_20(rows: int) -> None:
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        interval = mean_interval(rng.normal(0.3, 1, rows), rng)
        covered += interval.low <= 0.3 <= interval.high
    assert 87 <= covered <= 100


def test_r2_interval_holds_its_value() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    interval = r2_interval(truth, truth + rng.normal(scale=0.3, size=200), rng)
    assert interval.low < interval.value < interval.high < 1


def test_r2_interval_never_passes_one() -> None:
    rng = np.random.default_rng(0)
    truth = np.append(rng.normal(size=100), 50.0)
    off = np.append(np.zeros(100), 30.0)  # one row makes nearly all of the error
    assert r2_interval(truth, truth - off, rng).high <= 1


def test_r2_difference_of_equal_answers_is_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=6000)
    assert r2_difference(truth, truth * 0.9, truth * 0.9, rng) == (0.0, 0.0, 0.0)


def test_r2_of_a_constant_target_is_zero() -> None:
    assert r2(np.ones(5), np.zeros(5)) == 0.0


def test_quantile_interval_brackets_the_quantile() -> None:
    values = np.arange(1, 201, dtype=float)
    interval = quantile_interval(values, 0.99)
    assert interval.low <= 198 <= interval.high
    assert quantile_interval(np.array([5.0]), 0.99) == (5.0, 5.0, 5.0)
