"""One pass over blocks: rows checked, set aside, gathered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import DataSourceConfig, SchemaMismatch, canonical_json, to_dict
from agentloop.data.arrow_block import Block, inspect_block
from agentloop.data.arrow_extract import Extract, RawRows, TornRow
from agentloop.data.arrow_fit import complete
from agentloop.data.arrow_plan import plan_scan
from agentloop.data.arrow_seal import InlineSealer
from agentloop.data.arrow_stage import FAILING, PART, Stage
from agentloop.data.arrow_work import cut_head
from agentloop.data.batch import ScanPlan, TransformedBatch
from agentloop.data.profiler import build_profile

ROWS = {
    "id": [f"r{i}" for i in range(40)],
    "size": [float(i) for i in range(40)],
    "town": ["Ulm", "Bern"] * 20,
    "y": [0, 1] * 20,
}
COLUMNS = {
    "id": {"unique": True},
    "size": {"kind": "number", "minimum": 0, "maximum": 1000, "nullable": False},
    "town": {"categories": ["Ulm", "Bern"]},
}


def table(**changed: Any) -> pa.Table:
    return pa.table({**ROWS, **changed})


def config(on_failure: str = "quarantine", **more: Any) -> DataSourceConfig:
    return DataSourceConfig.model_validate(
        {
            "source": {"kind": "parquet", "path": "rows"},
            "target": "y",
            "columns": COLUMNS,
            "checks": {"on_failure": on_failure, "min_rows": 1},
            **more,
        }
    )


def planned(extract: Extract, spec: DataSourceConfig) -> tuple[ScanPlan, tuple[str, ...]]:
    outlook = plan_scan(extract, spec)
    return complete(outlook, extract, spec), outlook.notes


def inspect(rows: pa.Table, spec: DataSourceConfig) -> Block:
    plan, _ = planned(Extract("rows", "parquet", rows), spec)
    return inspect_block(RawRows(rows), plan)


def stage(
    folder: Path,
    rows: pa.Table,
    spec: DataSourceConfig,
    size: int,
    torn: tuple[TornRow, ...] = (),
) -> TransformedBatch:
    extract = Extract("rows", "parquet", rows, torn)
    plan, notes = planned(extract, spec)
    folder.mkdir(exist_ok=True)
    with Stage(folder, plan, "rows", InlineSealer(plan.schema)) as staged:
        for raw in cut_head(extract, size):
            staged.add(inspect_block(raw, plan))
        return staged.finish((), notes)


def put(column: str, row: int, value: Any) -> pa.Table:
    values: list[Any] = list(ROWS[column])  # type: ignore[call-overload]
    values[row] = value
    return table(**{column: values})


@pytest.mark.parametrize(
    ("column", "value", "check", "reason"),
    [
        ("y", None, "target", "y: no target"),
        ("size", None, "nulls", "size: no value"),
        ("size", float("inf"), "finite", "size: infinite; size: above 1000"),
        ("size", -1.0, "minimum", "size: below 0"),
        ("size", 1001.0, "maximum", "size: above 1000"),
        ("town", "Rome", "categories", "town: not a known category"),
    ],
)
def test_a_failing_row_is_set_aside_with_its_reasons(
    column: str, value: Any, check: str, reason: str
) -> None:
    block = inspect(put(column, 3, value), config())
    assert block.rows.num_rows == 39
    assert block.failing is not None
    assert block.failing.column("_reasons").to_pylist() == [reason]
    assert block.failing.column("id").to_pylist() == ["r3"]
    assert block.tallies[check, column].count == 1


def test_warn_keeps_failing_rows_but_none_without_a_target() -> None:
    block = inspect(put("size", 3, -1.0), config("warn"))
    assert (block.rows.num_rows, block.tallies["minimum", "size"].count) == (40, 1)
    assert inspect(put("y", 3, None), config("warn")).rows.num_rows == 39


def test_rows_far_outside_are_counted() -> None:
    spec = config(columns={})
    assert inspect(put("size", 3, 1e6), spec).anomalies == 1
    assert inspect(table(), spec).anomalies == 0


@pytest.mark.parametrize("size", [1, 7, 40])
def test_repeated_values_are_found_across_blocks(tmp_path: Path, size: int) -> None:
    batch = stage(tmp_path, put("id", 30, "r2"), config(), size)
    assert (batch.rows, batch.failing) == (39, 1)
    example = batch.tallies["unique", "id"].examples[0]
    assert (example.row, example.value, example.values["town"]) == (30, "r2", "Ulm")
    failing = pq.ParquetFile(tmp_path / FAILING).read()
    assert failing.column("_reasons").to_pylist() == ["id: seen before"]


def test_the_outcome_does_not_depend_on_the_blocks(tmp_path: Path) -> None:
    rows = put("size", 3, None)
    one, many = (stage(tmp_path / str(n), rows, config(), n) for n in (40, 3))
    assert one.content_hash == many.content_hash
    assert build_profile(one) == build_profile(many)
    assert one.tallies == many.tallies
    for name in (PART.format(0), FAILING):
        assert (one.staging / name).read_bytes() == (many.staging / name).read_bytes()


@pytest.mark.parametrize("size", [1, 7, 40])
def test_torn_rows_are_set_aside_and_count_as_rows(tmp_path: Path, size: int) -> None:
    torn = (TornRow(5, "a,b", "2 values"), TornRow(11, "c", "1 value"))
    batch = stage(tmp_path, put("size", 20, -1.0), config(), size, torn)
    assert (batch.rows, batch.failing) == (39, 3)
    assert [e.row for e in batch.tallies["torn", ""].examples] == [4, 10]
    assert batch.tallies["minimum", "size"].examples[0].row == 22
    failing = pq.ParquetFile(tmp_path / FAILING).read()
    assert "2 values: a,b" in failing.column("_reasons").to_pylist()


def test_a_policy_of_its_own_beats_the_general_one() -> None:
    checks = {"on_failure": "reject", "policy": {"minimum": "warn"}}
    block = inspect(put("size", 3, -1.0), config(checks=checks))
    assert (block.rows.num_rows, block.failing) == (40, None)


def test_a_pattern_must_match_the_whole_text() -> None:
    spec = config(columns={"id": {"kind": "text", "pattern": "r[0-9]"}})
    block = inspect(table(), spec)
    assert block.tallies["pattern", "id"].count == 30
    assert block.tallies["pattern", "id"].examples[0].value == "r10"


def test_anomalies_name_the_columns_that_explain_them_and_may_be_set_aside() -> None:
    spec = config(columns={}, checks={"policy": {"anomaly": "quarantine"}})
    block = inspect(put("size", 3, 1e6), spec)
    assert block.rows.num_rows == 39
    assert block.tallies["anomaly", "size"].examples[0].values["id"] == "r3"


def test_a_column_that_drifts_in_the_head_of_a_long_source_has_no_anomalies() -> None:
    rows = pa.table(
        {"id": range(400), "size": [float(i % 7) for i in range(400)], "y": [0, 1] * 200}
    )
    whole = Extract("rows", "parquet", rows)
    longer = replace(whole, parts=(object(),))  # type: ignore[arg-type]
    spec = config(columns={})
    assert [s.name for s in planned(whole, spec)[0].scales] == ["id", "size"]
    assert [s.name for s in planned(longer, spec)[0].scales] == ["size"]


def test_only_rows_past_since_are_taken(tmp_path: Path) -> None:
    extract = Extract("rows", "parquet", table())
    source = {"kind": "parquet", "path": "rows", "time_column": "size", "since": "36"}
    spec = config(columns={}, source=source)
    plan = complete(plan_scan(extract, spec, since="36"), extract, spec)
    block = inspect_block(RawRows(extract.head), plan)
    assert block.rows.column("size").to_pylist() == [37.0, 38.0, 39.0]
    assert block.places.tolist() == [37, 38, 39]


def test_dropped_columns_are_not_stored(tmp_path: Path) -> None:
    spec = config(columns={}, drop=["id", "nope"])
    batch = stage(tmp_path, table(), spec, 40)
    assert batch.schema.names == ("size", "town", "y")
    assert batch.notes == ("data.drop names 'nope', which is not in the source",)


def test_values_of_another_kind_are_told_by_row(tmp_path: Path) -> None:
    rows = table(size=["1"] * 20 + ["big"] * 20)
    with pytest.raises(SchemaMismatch) as caught:
        stage(tmp_path, rows, config("reject"), 15)
    assert caught.value.differences[0] == "row 21: 'big' in column 'size' is not a number"
    assert len(caught.value.differences) == 10


@pytest.mark.parametrize("size", [1, 7, 40])
def test_values_of_another_kind_are_set_aside_where_the_policy_says_so(
    tmp_path: Path, size: int
) -> None:
    rows = table(size=[str(i) if i % 13 else "big" for i in range(40)])
    batch = stage(tmp_path, rows, config(), size)
    found = batch.tallies["kind", "size"]
    assert (batch.rows, batch.failing, found.count) == (36, 4, 4)
    assert [(e.row, e.value) for e in found.examples] == [(0, "big"), (13, "big"), (26, "big")]
    reasons = pq.ParquetFile(tmp_path / FAILING).read().column("_reasons").to_pylist()
    assert reasons[0].startswith("size: 'big' is not a number")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"town": {"kind": "category", "minimum": 3}}, "data.columns.town.minimum does nothing"),
        ({"size": {"pattern": "x"}}, "data.columns.size.pattern does nothing"),
        ({"town": {"pattern": "(?=x)x"}}, "no regular expression for RE2"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(columns: Any, told: str) -> None:
    with pytest.raises(SchemaMismatch, match=told):
        planned(Extract("rows", "parquet", table()), config(columns=columns))


def test_a_split_by_a_column_that_is_not_there_is_refused() -> None:
    spec = config(columns={}, split={"by": "group", "column": "twon"})
    with pytest.raises(SchemaMismatch, match="did you mean 'town'"):
        planned(Extract("rows", "parquet", table()), spec)


def test_a_column_of_nothing_is_counted_as_null(tmp_path: Path) -> None:
    batch = stage(tmp_path, table(size=[None] * 40), config(columns={}), 40)
    column = build_profile(batch).column("size")
    assert (column.nulls, column.count, column.null_rate) == (40, 0, 1.0)


def test_the_profile_describes_each_kind(tmp_path: Path) -> None:
    profile = build_profile(stage(tmp_path, table(), config(columns={}), 9))
    size, town = profile.column("size"), profile.column("town")
    assert (size.minimum, size.maximum, size.mean, size.distinct) == (0, 39, 19.5, 40)
    assert size.std == pytest.approx(11.69, abs=0.01)
    assert size.histogram is not None
    assert sum(size.histogram[1]) == 40
    assert town.top == (("Bern", 20), ("Ulm", 20))


def test_the_profile_of_extreme_numbers_is_still_json(tmp_path: Path) -> None:
    rows = table(size=[1.7e308, -1.7e308] * 20)
    profile = build_profile(stage(tmp_path, rows, config(columns={}), 40))
    assert profile.column("size").std is None
    canonical_json(to_dict(profile))
