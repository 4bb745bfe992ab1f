"""Steps: what each does, and that neither blocks nor test rows change what is fitted."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from agentloop.contracts import SchemaMismatch, SplitSpec
from agentloop.contracts.spec_steps import StepSpec
from agentloop.data.arrow_cast import STORED_TYPES
from agentloop.data.arrow_steps import (
    FittedSteps,
    apply_keyed,
    apply_steps,
    begin_fit,
    finish_pass,
    fit_block,
    merge_fits,
    partial_fit,
    plan_steps,
)

STEPS: TypeAdapter[tuple[StepSpec, ...]] = TypeAdapter(tuple[StepSpec, ...])
KINDS: dict[str, Any] = {
    "x": "number",
    "n": "integer",
    "b": "boolean",
    "c": "category",
    "t": "text",
    "d": "datetime",
}


def table_of(**columns: Sequence[object]) -> pa.Table:
    return pa.table({n: pa.array(v, STORED_TYPES[KINDS[n]]) for n, v in columns.items()})


def steps_of(*steps: dict[str, Any]) -> tuple[StepSpec, ...]:
    return STEPS.validate_python(steps)


def fit(steps: tuple[StepSpec, ...], blocks: list[pa.Table], trains: list[Any]) -> FittedSteps:
    kinds = {name: KINDS[name] for name in blocks[0].column_names}
    so_far = begin_fit(plan_steps(kinds, steps, ""))
    starts = np.cumsum([0, *(block.num_rows for block in blocks)])
    while not so_far.is_complete:
        parts = zip(blocks, trains, starts, strict=False)
        so_far = finish_pass(so_far, merge_fits(partial_fit(so_far, *part) for part in parts))
    return pickle.loads(pickle.dumps(so_far))


def run(table: pa.Table, *steps: dict[str, Any], trains: Any = None) -> pa.Table:
    mask = np.ones(table.num_rows, bool) if trains is None else np.array(trains)
    done, misfits = apply_steps(table, fit(steps_of(*steps), [table], [mask]))
    assert misfits == {}
    return done


def impute(columns: list[str], **filling: Any) -> dict[str, Any]:
    return {"kind": "impute", "columns": columns, **filling}


def test_a_null_becomes_the_mean_of_the_training_rows() -> None:
    table = table_of(x=[1.0, 3.0, None, 1e9], n=[1, 2, None, 10**9])
    done = run(table, impute(["x", "n"], statistic="mean"), trains=[True, True, True, False])
    assert done["x"].to_pylist() == [1.0, 3.0, 2.0, 1e9]
    assert done["n"].to_pylist() == [1, 2, 2, 10**9]


def test_a_null_becomes_the_median_or_the_most_frequent_value() -> None:
    table = table_of(x=[1.0, 2.0, 9.0, None], c=["b", "a", None, None], d=[7, 7, 8, None])
    frequent = impute(["c", "d"], statistic="most_frequent")
    done = run(table, impute(["x"], statistic="median"), frequent)
    assert done["x"].to_pylist()[3] == 2.0
    assert done["c"].to_pylist() == ["b", "a", "a", "a"]
    assert done["d"][3] == done["d"][0]


def test_a_null_becomes_a_value_read_as_the_column() -> None:
    table = table_of(x=[None], b=[None], t=[None], d=[None])
    steps = [
        impute(["x"], value=0),
        impute(["b"], value=True),
        impute(["t"], value=0),
        impute(["d"], value="2020-01-02"),
    ]
    row = run(table, *steps).to_pylist()[0]
    assert (row["x"], row["b"], row["t"], str(row["d"])) == (0.0, True, "0", "2020-01-02 00:00:00")


def test_where_no_training_row_has_a_value_nulls_stay() -> None:
    table = table_of(x=[None, 1.0])
    clip = {"kind": "clip", "columns": ["x"], "quantiles": [0.1, 0.9]}
    done = run(table, impute(["x"], statistic="mean"), clip, trains=[True, False])
    assert done["x"].to_pylist() == [None, 1.0]


def test_clip_moves_to_bounds_and_leaves_nulls() -> None:
    table = table_of(x=[-5.0, None, float("inf"), 1.0], n=[-5, None, 9, 1])
    done = run(table, {"kind": "clip", "columns": ["x", "n"], "low": 0.5, "high": 2.5})
    assert done["x"].to_pylist() == [0.5, None, 2.5, 1.0]
    assert done["n"].to_pylist() == [1, None, 2, 1]


def test_clip_learns_its_quantiles_from_training_rows() -> None:
    table = table_of(x=[*map(float, range(101)), 1e6])
    clip = {"kind": "clip", "columns": ["x"], "quantiles": [0.1, 0.9]}
    done = run(table, clip, trains=[True] * 101 + [False])
    assert (min(done["x"].to_pylist()), done["x"][101].as_py()) == (10.0, 90.0)


def test_cast_tells_misfits_with_their_rows_or_makes_them_null() -> None:
    table = table_of(t=["1", " 2.5 ", "x", None, "1.00E+05"])
    steps = steps_of({"kind": "cast", "columns": ["t"], "to": "number"})
    _, misfits = apply_steps(table, begin_fit(plan_steps({"t": "text"}, steps, "")))
    assert misfits == {"t": [(2, "x")]}
    done = run(table, {"kind": "cast", "columns": ["t"], "to": "number", "on_error": "null"})
    assert done["t"].to_pylist() == [1.0, 2.5, None, None, 1e5]


def test_a_cast_that_makes_misfits_null_finds_each_of_many() -> None:
    texts = [str(i) if i % 3 else f"bad{i}" for i in range(2_000)]
    cast = {"kind": "cast", "columns": ["t"], "to": "integer", "on_error": "null"}
    done = run(table_of(t=texts), cast)["t"].to_pylist()
    assert done == [i if i % 3 else None for i in range(2_000)]


def test_a_whole_number_reads_the_same_beside_any_other() -> None:
    cast = {"kind": "cast", "columns": ["x"], "to": "category"}
    assert run(table_of(x=[1.0, 2.5, None]), cast)["x"].to_pylist() == ["1", "2.5", None]


def test_map_replaces_whole_values_and_keeps_or_replaces_the_rest() -> None:
    table = table_of(c=["yes", "no", None, "3"])
    values = {"yes": 1, "no": 0}
    kept = run(table, {"kind": "map", "column": "c", "values": values})
    assert kept["c"].to_pylist() == [1, 0, None, 3]
    other = run(table, {"kind": "map", "column": "c", "values": values, "otherwise": -1})
    assert other["c"].to_pylist() == [1, 0, None, -1]
    nulled = run(table, {"kind": "map", "column": "c", "values": {"3": None}})
    assert nulled["c"].to_pylist() == ["yes", "no", None, None]


def test_map_finds_numbers_by_their_value_and_tells_kept_values_that_do_not_fit() -> None:
    done = run(table_of(x=[1.0, 2.0]), {"kind": "map", "column": "x", "values": {"1": "one"}})
    assert done["x"].to_pylist() == ["one", "2"]
    steps = steps_of({"kind": "map", "column": "c", "values": {"yes": 1}})
    plan = plan_steps({"c": "category"}, steps, "")
    assert apply_steps(table_of(c=["yes", "?"]), begin_fit(plan))[1] == {"c": [(1, "?")]}


def test_a_target_of_classes_stays_one() -> None:
    steps = steps_of({"kind": "map", "column": "c", "values": {">50K.": 1, "<=50K.": 0}})
    assert plan_steps({"c": "category"}, steps, "c").kinds_after == {"c": "category"}
    derive = steps_of({"kind": "derive", "column": "n", "sql": "n >= 6"})
    assert plan_steps({"n": "integer"}, derive, "n").kinds_after == {"n": "category"}


def test_replace_edits_texts() -> None:
    step = {"kind": "replace", "columns": ["c"], "pattern": r"\.$"}
    assert run(table_of(c=["a.", "b", None]), step)["c"].to_pylist() == ["a", "b", None]


def test_derive_adds_a_column_and_not_a_number_is_null() -> None:
    step = {"kind": "derive", "column": "r", "sql": "x / n"}
    done = run(table_of(x=[6.0, 0.0], n=[3, 0]), step)
    assert done["r"].to_pylist() == [2.0, None]


REFUSED = [
    (impute(["colour"], value=1), "column 'colour' is not in the data"),
    (impute(["xx"], value=1), r"data.steps\[0\] \(impute\)"),
    (impute(["c"], statistic="mean"), "'c' is a category, and must be number or integer"),
    (impute(["n"], value="many"), "'many' is no integer"),
    ({"kind": "clip", "columns": ["n"], "low": 0.2, "high": 0.8}, "no whole number"),
    ({"kind": "cast", "columns": ["d"], "to": "number"}, "does not read as number"),
    ({"kind": "map", "column": "x", "values": {"a": 1}}, "'a' is no number"),
    ({"kind": "replace", "columns": ["t"], "pattern": "(?=a)"}, "RE2"),
    ({"kind": "derive", "column": "z", "sql": "[x]"}, "which no column can hold"),
    ({"kind": "derive", "column": "z", "sql": "y + 1"}, "column 'y' is not in the data"),
    ({"kind": "drop_duplicates", "columns": ["xx"]}, "not in the data"),
]


@pytest.mark.parametrize(("step", "words"), REFUSED)
def test_a_plan_refuses_what_cannot_work(step, words) -> None:
    with pytest.raises(SchemaMismatch, match=words):
        plan_steps(KINDS, steps_of(step), "c")


def test_what_depends_on_a_fitted_column_waits_for_it() -> None:
    steps = steps_of(
        impute(["x"], statistic="mean"),
        impute(["n"], statistic="mean"),
        {"kind": "derive", "column": "s", "sql": "x * 2"},
        impute(["s"], statistic="mean"),
    )
    plan = plan_steps({"x": "number", "n": "integer"}, steps, "")
    assert [fit.turn for fit in plan.fits] == [0, 0, 1]
    table = table_of(x=[1.0, None, 4.0], n=[1, 1, 1])
    fitted = fit(steps, [table], [np.array([True, True, False])])
    assert (fitted.values[0, "x"], fitted.values[3, "s"]) == (1.0, 2.0)


def test_a_split_by_a_fitted_column_is_refused_and_by_a_cast_one_works() -> None:
    split = SplitSpec(by="time", column="t", at="1970-01-02")
    steps = steps_of(
        {"kind": "cast", "columns": ["t"], "to": "datetime"}, impute(["x"], statistic="mean")
    )
    so_far = begin_fit(plan_steps({"t": "text", "x": "number"}, steps, "", split))
    table = table_of(t=["1970-01-01", "1970-01-03"], x=[1.0, 3.0])
    fitted = finish_pass(so_far, fit_block(so_far, table, 0, split, None))
    assert fitted.values[1, "x"] == 1.0
    by_x = SplitSpec(by="value", column="x", values=("1",))
    with pytest.raises(SchemaMismatch, match="the split comes before fitting"):
        plan_steps({"x": "number"}, steps_of(impute(["x"], statistic="mean")), "", by_x)


def test_repeats_have_equal_keys_at_their_turn() -> None:
    steps = steps_of(
        {"kind": "replace", "columns": ["c"], "pattern": "-"},
        {"kind": "drop_duplicates", "columns": ["c"]},
        {"kind": "map", "column": "c", "values": {"a": "b"}},
        {"kind": "drop_duplicates"},
    )
    done = apply_keyed(
        table_of(c=["a", "a-", "b", None, None]),
        begin_fit(plan_steps({"c": "category"}, steps, "")),
    )
    first, last = ([tuple(row) for row in keys.tolist()] for keys in done.keys)
    assert len(set(first)) == 3
    assert (first[0], first[3]) == (first[1], first[4])
    assert last[0] == last[2]


FLOATS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32))
ROWS = st.lists(
    st.tuples(
        FLOATS,
        st.one_of(st.none(), st.integers(-50, 50)),
        st.one_of(st.none(), st.booleans()),
        st.sampled_from([None, "a", "b", "c-1"]),
        st.sampled_from([None, "1", "2.5", "x"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)
ALL_STEPS = steps_of(
    {"kind": "replace", "columns": ["c"], "pattern": "-.*"},
    {"kind": "cast", "columns": ["t"], "to": "number", "on_error": "null"},
    impute(["x", "n"], statistic="median"),
    impute(["t"], statistic="mean"),
    impute(["b", "c"], statistic="most_frequent"),
    {"kind": "clip", "columns": ["x", "n"], "quantiles": [0.2, 0.7]},
    {"kind": "derive", "column": "sum", "sql": "x + n + t"},
    {"kind": "map", "column": "c", "values": {"a": "A"}},
    {"kind": "drop_duplicates", "columns": ["c"]},
    {"kind": "clip", "columns": ["sum"], "quantiles": [0.1, 0.9]},
    {"kind": "cast", "columns": ["x"], "to": "category"},
)


def table_from(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*(row[:5] for row in rows), strict=True)
    return table_of(**dict(zip("xnbct", columns, strict=True)))


def cut(table: pa.Table, size: int) -> list[pa.Table]:
    return [table.slice(start, size) for start in range(0, table.num_rows, size)]


@settings(max_examples=20, deadline=None)
@given(ROWS, st.integers(1, 40))
def test_blocks_are_fitted_and_changed_like_the_whole(rows, size) -> None:
    table, trains = table_from(rows), np.array([row[5] for row in rows])
    whole = fit(ALL_STEPS, [table], [trains])
    blocks = cut(table, size)
    masks = [trains[start : start + size] for start in range(0, len(rows), size)]
    assert fit(ALL_STEPS, blocks, masks) == whole
    pieces = pa.concat_tables(apply_steps(block, whole)[0] for block in blocks)
    assert pieces.equals(apply_steps(table, whole)[0])


@settings(max_examples=20, deadline=None)
@given(ROWS, ROWS)
def test_test_rows_never_influence_what_is_fitted(rows, others) -> None:
    mixed = [row if row[5] else others[i % len(others)] for i, row in enumerate(rows)]
    trains = np.array([row[5] for row in rows])
    fits = [fit(ALL_STEPS, [table_from(some)], [trains]) for some in (rows, mixed)]
    assert fits[0] == fits[1]


def test_large_columns_are_sampled_alike_in_any_blocks_and_any_order() -> None:
    values = np.random.default_rng(1).lognormal(size=300_000)
    table = pa.table({"x": values})
    steps = steps_of({"kind": "clip", "columns": ["x"], "quantiles": [0.01, 0.99]})
    trains = np.arange(300_000) % 4 != 0
    so_far = begin_fit(plan_steps({"x": "number"}, steps, ""))
    bounds = []
    for size in (300_000, 70_001, 20_000):
        starts = range(0, 300_000, size)
        states = [
            partial_fit(so_far, table.slice(s, size), trains[s : s + size], s) for s in starts
        ]
        state = reduce(lambda a, b: b.merge(a), states)
        bounds.append(finish_pass(so_far, state).values[0, "x"])
    assert bounds[0] == bounds[1] == bounds[2]
    ranks = np.searchsorted(np.sort(values[trains]), bounds[0]) / trains.sum()
    np.testing.assert_allclose(ranks, (0.01, 0.99), atol=0.002)
