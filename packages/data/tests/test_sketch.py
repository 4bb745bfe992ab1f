"""Summaries depend on the values, never on how they were cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.data.sketch import (
    MAX_TEXTS,
    Numbers,
    Texts,
    merge_summaries,
    summarise_numbers,
    summarise_texts,
)

RNG = np.random.default_rng(0)
FLOATS = st.floats(-1e300, 1e300, allow_nan=False)


def merged(values: np.ndarray, cuts: list[int], keep_all: bool | None = None) -> Numbers:
    parts = np.split(values, sorted(cuts))
    whole = merge_summaries([{"x": summarise_numbers(part, 1, keep_all)} for part in parts])["x"]
    assert isinstance(whole, Numbers)
    return whole


@given(st.lists(FLOATS, min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_any_cut_gives_the_same_values(values: list[float], cuts: list[int]) -> None:
    array = np.array(values)
    whole, cut = summarise_numbers(array, 0), merged(array, cuts)
    np.testing.assert_array_equal(whole.points()[0], cut.points()[0])
    np.testing.assert_array_equal(whole.points()[1], cut.points()[1])
    assert (whole.count, whole.minimum, whole.maximum) == (cut.count, cut.minimum, cut.maximum)
    assert cut.nulls == len(cuts) + 1
    assert whole.distinct.estimate == cut.distinct.estimate


def rank_error(values: np.ndarray, summary: Numbers) -> float:
    """The largest distance between an asked-for rank and one that the answer has."""
    ordered, asked = np.sort(values), tuple(np.linspace(0, 1, 101))
    found = summary.quantiles(asked)
    low = np.searchsorted(ordered, found, side="left") / len(values)
    high = np.searchsorted(ordered, found, side="right") / len(values)
    return float(np.maximum(low - asked, np.asarray(asked) - high).max())


@pytest.mark.parametrize("shape", ["normal", "offset", "skewed", "few", "sorted", "spike"])
def test_every_rank_is_right_to_a_tenth_of_a_percent(shape: str) -> None:
    values = {
        "normal": RNG.normal(size=600_000),
        "offset": 1.7e9 + RNG.uniform(size=600_000),
        "skewed": RNG.lognormal(sigma=4, size=600_000),
        "few": RNG.poisson(3, 600_000).astype(float),
        "sorted": np.arange(600_000.0),
        "spike": np.where(RNG.uniform(size=600_000) < 0.9, 0.0, RNG.normal(size=600_000)),
    }[shape]
    summary = merged(values, list(range(20_000, 600_000, 20_000)), False)
    assert rank_error(values, summary) < 0.001
    assert summary.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-12)
    assert summary.squares == pytest.approx(np.square(values - values.mean()).sum(), rel=1e-8)
    points, weights = summary.points()
    assert (int(weights.sum()), len(points) < 30_000) == (600_000, True)


def test_quantiles_of_small_columns_are_exact() -> None:
    assert summarise_numbers(np.array([4.0, 1, 2, 3]), 0).quantiles((0.5,)).tolist() == [2.5]


@pytest.mark.parametrize("distinct", [1, 4000, 6000, 40_000, 200_000])
def test_distinct_counts_are_close(distinct: int) -> None:
    values = np.arange(200_000) % distinct * 1.5
    estimate = merged(values, [50_000, 70_000]).distinct.estimate
    assert estimate == pytest.approx(distinct, rel=0.0 if distinct < 4096 else 0.03)


def test_identifiers_that_a_float_cannot_tell_apart_are_counted() -> None:
    values = np.arange(3000, dtype=np.int64) + 2**60
    assert summarise_numbers(values, 0).distinct.estimate == 3000


def test_distinct_counts_depend_on_the_values_alone() -> None:
    values = RNG.normal(size=50_000)
    shuffled = RNG.permutation(np.concatenate([values, values]))
    assert merged(values, [1000]).distinct.estimate == merged(shuffled, [7]).distinct.estimate


def test_texts_are_counted_until_there_are_too_many() -> None:
    few = summarise_texts({"a": 2}, 1).merge(summarise_texts({"a": 1, "b": 1}, 0))
    assert (few.counts, few.count, few.nulls, few.error) == ({"a": 3, "b": 1}, 4, 1, 0)
    many = summarise_texts({str(i): 1 for i in range(MAX_TEXTS)}, 0).merge(few)
    assert many.distinct.estimate == pytest.approx(MAX_TEXTS + 2, rel=0.03)


def test_the_most_frequent_texts_survive_many_rare_ones() -> None:
    parts = [
        summarise_texts({"often": 100, **{f"{i}-{n}": 1 for n in range(5000)}}, 0)
        for i in range(10)
    ]
    whole = merge_summaries([{"x": part} for part in parts])["x"]
    assert isinstance(whole, Texts)
    assert whole.counts["often"] <= 1000 <= whole.counts["often"] + whole.error
    assert max(whole.counts, key=lambda text: whole.counts[text]) == "often"
