"""Splits: the published digests, and that a block's rows fall where the whole data's do."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.contracts import SchemaMismatch, SplitSpec
from agentloop.lifecycle.arrow_split import (
    count_block,
    find_cut,
    needs_cut,
    split_mask,
    split_rows,
    training_mask,
)

# Rows, rule, test rows and their digest, of data sets in common use.
HASHED = [
    ("credit_default", 30_000, "6cb16f20f94e01527a18b6ae6a2bc55e01a50f6581577c978b21c4d31a2b6e04"),
    ("telco_churn", 7_043, "96544c1b931edff94a5bbe00be414e99896041cba05d1077b755f4675ca5c88a"),
    ("german_credit", 1_000, "db4df0406a9f15460b5283a0fddbe3c658d04de367d13bb1e320ab69f423eda5"),
    ("wine_red", 1_599, "f082d0f57f9c2e9266e32bfa2cb5a07c6923a3a4b484350dd471062ea278b73f"),
    ("wine_white", 4_898, "41a006d2141152c7f04193b1bdfa32ced29f4739a4d05f3028a48b7ea5146981"),
]
ORDERED = [
    (41_188, 0.25, "64fac62f622da77343f64e4dcb2f3e5ebeae8043851a9e30538b92ba64bcddda"),
    (45_312, 0.5, "4b94ecb30c2afb692326acc7dfbc9a68db4610f4f3ac1b68e90b6f69091a7fb3"),
]


def digest_of(test: Any) -> str:
    return hashlib.sha256(",".join(map(str, np.flatnonzero(test))).encode()).hexdigest()


@pytest.mark.parametrize(("salt", "rows", "digest"), HASHED)
def test_a_hash_of_the_position_gives_the_published_split(salt, rows, digest) -> None:
    assert digest_of(split_rows({}, rows, SplitSpec(by="hash", salt=salt))) == digest


@pytest.mark.parametrize(("rows", "share", "digest"), ORDERED)
def test_file_order_gives_the_published_split(rows, share, digest) -> None:
    assert digest_of(split_rows({}, rows, SplitSpec(by="order", test=share))) == digest


@pytest.mark.parametrize("value", ["1", "1.0"])
def test_a_value_gives_the_published_split(value) -> None:
    years = np.repeat([0.0, 1.0], [8_645, 8_734])
    spec = SplitSpec(by="value", column="yr", values=(value,))
    published = "64f33db444eddb4217381b4bdde8f4e0d4b0013e62f4107dcde1cf681d16b7c9"
    assert digest_of(split_rows({"yr": years}, len(years), spec)) == published


def test_the_split_has_its_share_and_depends_on_the_seed() -> None:
    mask = split_mask(20_000, SplitSpec(test=0.25))
    assert abs(mask.mean() - 0.25) < 0.01
    other = split_mask(20_000, SplitSpec(test=0.25, seed=1))
    assert abs((mask & other).mean() - 0.0625) < 0.01


@pytest.mark.parametrize("by", ["row", "hash"])
def test_added_rows_move_nobody(by) -> None:
    spec = SplitSpec(test=0.3, seed=7, by=by)
    np.testing.assert_array_equal(split_rows({}, 100, spec), split_rows({}, 5_000, spec)[:100])
    assert split_rows({}, 0, spec).shape == (0,)


def test_seven_percent_is_seven_buckets() -> None:
    share = split_rows({}, 100_000, SplitSpec(by="hash", test=0.07)).mean()
    assert abs(share - 0.07) < 0.003


def test_a_group_is_on_one_side_whatever_its_numbers_are_stored_as() -> None:
    numbers = np.arange(1_000, dtype=np.float64) % 50
    texts = np.array([str(int(n)) for n in numbers], object)
    spec = SplitSpec(by="group", column="who")
    test = split_rows({"who": numbers}, 1_000, spec)
    np.testing.assert_array_equal(test, split_rows({"who": texts}, 1_000, spec))
    assert all(len(set(test[numbers == n])) == 1 for n in range(50))
    assert 0 < test.sum() < 1_000


@pytest.mark.parametrize(
    "at", ["1970-01-03", "1970-01-03T00:00:00+00:00", "1970-01-03T02:00+02:00"]
)
def test_time_tests_from_the_given_moment_on_and_null_trains(at) -> None:
    days = np.array([1, 2, np.nan, 3]) * 86_400
    spec = SplitSpec(by="time", column="day", at=at)
    test = split_rows({"day": days}, 4, spec, {"day": "datetime"})
    assert test.tolist() == [False, True, False, True]


def test_a_year_is_a_number_in_a_number_column_and_a_date_in_a_datetime_column() -> None:
    spec = SplitSpec(by="time", column="t", at="2016")
    years = {"t": np.array([2015.0, 2016.0])}
    assert split_rows(years, 2, spec, {"t": "number"}).tolist() == [False, True]
    moments = {"t": np.array([1_451_606_399.0, 1_451_606_400.0])}
    assert split_rows(moments, 2, spec, {"t": "datetime"}).tolist() == [False, True]


def test_ties_at_the_cut_stay_on_the_side_that_comes_nearer_to_the_share() -> None:
    spec = SplitSpec(by="time", column="t", test=0.25)
    times = np.array([1.0, 2, 3, 4, 4, 4, 4, 5])
    assert split_rows({"t": times}, 8, spec).sum() == 1
    assert split_rows({"t": np.array([1.0, 1, 1, 2])}, 4, spec).tolist() == [False] * 3 + [True]
    assert not split_rows({"t": np.array([7.0, 7, np.nan])}, 3, spec).any()


def test_texts_split_by_value() -> None:
    texts = {"t": np.array(["2015-12", None, "2016-02", "2016-01"], object)}
    by_value = SplitSpec(by="value", column="t", values=("2016-01",))
    assert split_rows(texts, 4, by_value).tolist() == [False, False, False, True]


def test_text_has_no_order_in_time() -> None:
    texts = ["5 March", None, "21 January"]
    for spec in (
        SplitSpec(by="time", column="t"),
        SplitSpec(by="time", column="t", at="2016-01"),
    ):
        with pytest.raises(SchemaMismatch, match="kind: datetime"):
            split_rows({"t": np.array(texts, object)}, 3, spec)
        with pytest.raises(SchemaMismatch, match="kind: datetime"):
            training_mask(pa.table({"t": texts}), 0, spec, None)


def test_values_that_no_row_has_are_told_with_those_it_has() -> None:
    spec = SplitSpec(by="value", column="t", values=("2017",))
    with pytest.raises(SchemaMismatch, match="2017: no row of 't' has one of them; it has 2015, 2"):
        split_rows({"t": np.array([2015.0, 2016, np.nan])}, 3, spec)
    assert split_rows({"t": np.empty(0)}, 0, spec).shape == (0,)


def test_an_absent_column_names_the_nearest() -> None:
    spec = SplitSpec(by="group", column="custmer")
    with pytest.raises(SchemaMismatch, match="did you mean 'customer'"):
        split_rows({"customer": np.zeros(3)}, 3, spec)


def test_a_moment_that_is_none_is_told() -> None:
    spec = SplitSpec(by="time", column="t", at="tomorrow")
    with pytest.raises(SchemaMismatch, match="'tomorrow' is not a date or time"):
        split_rows({"t": np.zeros(3)}, 3, spec, {"t": "datetime"})


SPECS = [
    SplitSpec(seed=3),
    SplitSpec(by="hash", salt="s"),
    SplitSpec(by="order", test=0.4),
    *(SplitSpec(by="group", column=c, test=0.5) for c in ("f", "i", "b", "t", "d")),
    *(SplitSpec(by="time", column=c, test=0.3) for c in ("f", "i", "d")),
    SplitSpec(by="time", column="d", at="1970-01-01T00:00:05"),
    SplitSpec(by="value", column="d", values=("1970-01-01T00:00:03",)),
    SplitSpec(by="value", column="b", values=("true",)),
    SplitSpec(by="value", column="i", values=("3", "4")),
]
WHOLE = st.one_of(st.none(), st.integers(0, 9))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(WHOLE, WHOLE, WHOLE), max_size=40), st.integers(1, 40))
@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_blocks_split_like_the_whole(spec, rows, size) -> None:
    a, b, c = ([row[i] for row in rows] for i in range(3))
    table = pa.table(
        {
            "f": pa.array([None if v is None else v / 4 for v in a], pa.float64()),
            "i": pa.array(b, pa.int64()),
            "b": pa.array([None if v is None else v > 4 for v in c], pa.bool_()),
            "t": pa.array([None if v is None else f"k{v}" for v in c], pa.string()),
            "d": pa.array([None if v is None else v * 10**6 for v in a], pa.timestamp("us")),
        }
    )
    blocks = [(start, table.slice(start, size)) for start in range(0, len(rows), size)]
    cut = None
    if needs_cut(spec) and blocks:
        first, *rest = (count_block(block, spec) for _, block in blocks)
        for counts in rest:
            first = first.merge(counts)
        cut = find_cut(first, spec)
    trains = [training_mask(block, start, spec, cut) for start, block in blocks]
    try:
        whole = split_rows(_stored(a, b, c), len(rows), spec, {"d": "datetime"})
    except SchemaMismatch:  # no row has one of the values
        whole = np.zeros(len(rows), bool)
    np.testing.assert_array_equal(~np.concatenate([*trains, np.empty(0, bool)]), whole)


def _stored(a: Any, b: Any, c: Any) -> dict[str, Any]:
    """As ``read_columns`` gives them."""

    def floats(values: Any) -> Any:
        return np.array([np.nan if v is None else v for v in values], np.float64)

    texts = np.empty(len(c), object)
    texts[:] = [None if v is None else f"k{v}" for v in c]
    switches = floats([None if v is None else v > 4 for v in c])
    return {"f": floats(a) / 4, "i": floats(b), "b": switches, "t": texts, "d": floats(a)}
