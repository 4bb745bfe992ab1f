"""Rows that are equal have equal keys, and repeats are found across blocks, in order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.data.arrow_keys import duplicate_keys
from agentloop.data.seen import SeenKeys

VALUES = st.tuples(
    st.sampled_from([None, "", "a", "ab", "b"]),
    st.sampled_from([None, "", "a", "b", "bb"]),
    st.sampled_from([None, 0.0, -0.0, 1.0, float("inf")]),
    st.sampled_from([None, 0, 1, -(2**63)]),
    st.sampled_from([None, True, False]),
)
TYPES = [pa.string(), pa.string(), pa.float64(), pa.int64(), pa.bool_()]


def table_of(rows: list) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    arrays = [pa.array(c, t) for c, t in zip(columns, TYPES, strict=True)]
    return pa.Table.from_arrays(arrays, names=list("abxnf"))


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=30), st.integers(1, 30))
def test_keys_are_equal_exactly_where_rows_are_in_any_blocks(rows, size) -> None:
    table = table_of(rows)
    keys = [tuple(key) for key in duplicate_keys(table).tolist()]
    assert len(set(keys)) == len(set(rows))
    parts = [duplicate_keys(table.slice(at, size)) for at in range(0, len(rows), size)]
    assert [tuple(key) for part in parts for key in part.tolist()] == keys


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60), st.integers(1, 20))
def test_of_equal_keys_all_but_the_first_are_repeated(pairs, size) -> None:
    columns = {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}
    keys = duplicate_keys(pa.table(columns, pa.schema([("a", pa.int64()), ("b", pa.int64())])))
    seen = SeenKeys()
    found = [seen.repeated(keys[at : at + size]) for at in range(0, len(keys), size)]
    expected = [pair in pairs[:row] for row, pair in enumerate(pairs)]
    assert [bool(value) for part in found for value in part] == expected


@pytest.mark.parametrize("distinct", [10, 100_000])
def test_texts_have_the_same_keys_whether_they_repeat_or_not(distinct) -> None:
    texts = pa.table({"t": [f"k{i % distinct}" for i in range(4_000)]})
    alone = duplicate_keys(texts.slice(3_999, 1))
    np.testing.assert_array_equal(duplicate_keys(texts)[3_999:], alone)
