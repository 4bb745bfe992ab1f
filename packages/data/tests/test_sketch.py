"""Summaries depend on the values, never on how they were cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.data.sketch import (
    EXACT,
    MAX_TEXTS,
    Numbers,
    merge_summaries,
    summarise_numbers,
    summarise_texts,
)

RNG = np.random.default_rng(0)
FLOATS = st.floats(-1e300, 1e300, allow_nan=False)


def merged(values: np.ndarray, cuts: list[int]) -> Numbers:
    parts = np.split(values, sorted(cuts))
    whole = merge_summaries([{"x": summarise_numbers(part, 1)} for part in parts])["x"]
    assert isinstance(whole, Numbers)
    return whole


@given(st.lists(FLOATS, min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_any_cut_gives_the_same_values(values: list[float], cuts: list[int]) -> None:
    array = np.array(values)
    whole, cut = summarise_numbers(array, 0), merged(array, cuts)
    assert whole.values is not None
    assert cut.values is not None
    np.testing.assert_array_equal(whole.values, cut.values)
    assert (whole.count, whole.minimum, whole.maximum) == (cut.count, cut.minimum, cut.maximum)
    assert cut.nulls == len(cuts) + 1
    assert whole.distinct.estimate == cut.distinct.estimate


@pytest.mark.parametrize("cuts", [[100_000], [10, 20_000, 60_000, 150_000]])
def test_large_columns_do_not_depend_on_the_cut_either(cuts: list[int]) -> None:
    values = RNG.lognormal(size=200_000) * RNG.choice([-1, 0, 1], 200_000)
    whole, cut = summarise_numbers(values, 0), merged(values, cuts)
    np.testing.assert_array_equal(whole.codes, cut.codes)
    np.testing.assert_array_equal(whole.code_counts, cut.code_counts)
    assert cut.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-12)
    assert cut.squares == pytest.approx(np.square(values - values.mean()).sum(), rel=1e-9)
    assert whole.distinct.estimate == cut.distinct.estimate


def test_quantiles_of_large_columns_are_within_half_a_percent() -> None:
    values = RNG.lognormal(sigma=3, size=EXACT * 2)
    asked = (0.01, 0.25, 0.5, 0.75, 0.99)
    found = summarise_numbers(values, 0).quantiles(asked)
    np.testing.assert_allclose(found, np.quantile(values, asked), rtol=0.0051)


def test_quantiles_of_small_columns_are_exact() -> None:
    assert summarise_numbers(np.array([4.0, 1, 2, 3]), 0).quantiles((0.5,)).tolist() == [2.5]


@pytest.mark.parametrize("distinct", [1, 4000, 100_000])
def test_distinct_counts_are_close(distinct: int) -> None:
    values = np.arange(200_000) % distinct * 1.5
    estimate = summarise_numbers(values, 0).distinct.estimate
    assert estimate == pytest.approx(distinct, rel=0.0 if distinct < 4096 else 0.05)


def test_texts_are_counted_until_there_are_too_many() -> None:
    few = summarise_texts({"a": 2}, 1).merge(summarise_texts({"a": 1, "b": 1}, 0))
    assert (few.counts, few.count, few.nulls) == ({"a": 3, "b": 1}, 4, 1)
    many = summarise_texts({str(i): 1 for i in range(MAX_TEXTS)}, 0).merge(few)
    assert many.counts is None
    assert many.distinct.estimate == pytest.approx(MAX_TEXTS + 2, rel=0.05)
