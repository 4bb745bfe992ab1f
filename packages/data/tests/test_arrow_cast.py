"""Kinds: what values look like, and values that do not fit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from agentloop.contracts.data import ColumnKind
from agentloop.data.arrow_cast import cast_column, infer_kind, normalise

MISSING = ("", "NA", "?", "-999")


def kind_of(values: list[Any], target: bool = False, from_text: bool = False) -> str:
    return infer_kind(normalise(pa.array(values), MISSING, from_text), target, from_text)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, 2.0], "number"),
        ([1, 2, None], "integer"),
        ([True, False], "boolean"),
        (["a", "b", None], "category"),
        ([f"id {i}" for i in range(100)], "text"),
        ([str(i) for i in range(100)], "text"),
        ([datetime(2026, 1, 1)], "datetime"),
        ([None, None], "number"),
        (["?", " NA "], "number"),
    ],
)
def test_features_look_like_what_they_are(values: list[Any], kind: str) -> None:
    assert kind_of(values) == kind


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, 1], "category"),
        ([0.0, 1.0], "category"),
        ([0.5, 1.0], "number"),
        (list(range(51)), "integer"),
        ([True, False], "category"),
        ([f"id {i}" for i in range(100)], "category"),
    ],
)
def test_a_target_of_few_whole_numbers_is_a_category(values: list[Any], kind: str) -> None:
    assert kind_of(values, target=True) == kind


def test_text_from_a_file_is_trimmed_and_read_as_numbers() -> None:
    assert kind_of([" 12", " ?", "3.5 "], from_text=True) == "number"
    assert kind_of(["12", "3"], from_text=False) == "category"
    assert normalise(pa.array([" a "]), MISSING, True).to_pylist() == ["a"]
    assert normalise(pa.array([" a "]), MISSING, False).to_pylist() == [" a "]


def test_missing_tokens_and_nan_become_null() -> None:
    assert normalise(pa.array(["a", " ? ", ""]), MISSING, False).to_pylist() == ["a", None, None]
    assert normalise(pa.array([1, -999]), MISSING, False).to_pylist() == [1, None]
    assert normalise(pa.array([1.5, float("nan")]), MISSING, False).to_pylist() == [1.5, None]


@pytest.mark.parametrize(
    ("values", "kind", "stored", "bad"),
    [
        (["1", "x", "2"], "number", [1.0, None, 2.0], [(1, "x")]),
        ([1.0, 2.5], "integer", [1, None], [(1, "2.5")]),
        ([0, 1, 2], "boolean", [False, True, None], [(2, "2")]),
        (["true", "0"], "boolean", [True, False], []),
        ([1.0, None], "category", ["1", None], []),
        ([1, 2], "category", ["1", "2"], []),
        (["2026-01-02", None], "datetime", [datetime(2026, 1, 2), None], []),
        (["2026-01-02", "soon"], "datetime", [datetime(2026, 1, 2), None], [(1, "soon")]),
    ],
)
def test_casting_tells_values_that_do_not_fit(
    values: list[Any], kind: ColumnKind, stored: list[Any], bad: list[Any]
) -> None:
    array, misfits = cast_column(pa.array(values), kind)
    assert (array.to_pylist(), misfits) == (stored, bad)


def test_times_are_kept_in_utc() -> None:
    noon = pa.array([datetime(2026, 1, 1, 12)]).cast(pa.timestamp("ns", "Europe/Zurich"))
    array, _ = cast_column(noon, "datetime")
    assert array.type == pa.timestamp("us")


def test_times_in_json_are_times() -> None:
    times = pa.array(["2026-01-01T00:00:00.000", None, "2026-01-02 03:04:05"])
    assert infer_kind(times, False, False, has_no_times=True) == "datetime"
    assert infer_kind(times, False, False) == "category"
