"""What an ingest tells of itself: what it read, what it made, and how that went."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentloop.contracts import (
    BatchValidation,
    ColumnProfile,
    ColumnSchema,
    DataProfile,
    DataQualityError,
    DataSchema,
    DatasetVersion,
    DataSourceConfig,
    Finding,
)
from agentloop.data.lineage import ingest_lineage
from agentloop.data.lineage_columns import column_origins, row_filters
from agentloop.data.lineage_names import source_names
from agentloop.lifecycle.lineage import lineage_run, part_of
from agentloop.lifecycle.openlineage_emitter import MemoryLineage

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FILE = ("file", "/data/rows.csv")
SCHEMA = DataSchema((ColumnSchema("a", "number"), ColumnSchema("y", "category")), "y")
VERSION = DatasetVersion("churn", "d1", "hash", 569, "/home/d1", SCHEMA, "rev", "2026-01-02")
PROFILE = DataProfile(569, (ColumnProfile("a", "number", 569, 0, 500, 1.0, 9.0),))
NULLS = Finding("nulls", "reject", "a", 3, "3 rows have no value in 'a'")


def config(**extra):
    told = {"source": {"kind": "csv", "path": "rows.csv"}, "target": "y", **extra}
    return DataSourceConfig.model_validate(told)


def sql(url, **extra):
    return config(source={"kind": "sql", "url": url, **(extra or {"table": "orders"})})


def opened(emitter, spec=None, environment=None):
    return ingest_lineage(
        spec or config(),
        name="churn",
        base_dir=Path("/data"),
        home=Path("/home"),
        batch_id="key",
        emitter=emitter,
        environment=environment or {},
        now=lambda: NOW,
    )


def ingested(spec=None, **given):
    emitter = MemoryLineage()
    with opened(emitter, spec, **given) as facts:
        facts.read({"a": "number", "y": "category"})
        facts.checked(PROFILE, BatchValidation(True, ()))
        facts.kept(VERSION)
    return list(emitter.events())


def test_an_ingest_begins_and_completes_as_one_run():
    start, end = ingested()
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert (end["job"]["namespace"], end["job"]["name"]) == ("agentloop", "churn.ingest")
    assert (end["inputs"][0]["namespace"], end["inputs"][0]["name"]) == FILE


def test_the_output_has_version_schema_columns_and_quality():
    output = ingested()[1]["outputs"][0]
    facets = output["facets"]
    assert output["name"] == "dataset/churn"
    assert facets["version"]["datasetVersion"] == "d1"
    assert [field["name"] for field in facets["schema"]["fields"]] == ["a", "y"]
    assert facets["columnLineage"]["fields"]["a"]["inputFields"][0]["name"] == "/data/rows.csv"
    assert facets["dataQualityMetrics"]["rowCount"] == 569
    assert facets["dataQualityMetrics"]["columnMetrics"]["a"]["distinctCount"] == 500


def test_declared_checks_without_a_finding_are_told_as_held():
    spec = config(columns={"a": {"nullable": False, "minimum": 0}})
    told = ingested(spec)[1]["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    held = {(a["assertion"], a.get("column")) for a in told if a["success"]}
    assert held == {("min_rows", None), ("nulls", "a"), ("minimum", "a")}


def test_a_rejected_ingest_fails_with_what_it_was_rejected_for():
    emitter = MemoryLineage()
    validation = BatchValidation(False, (NULLS,))
    rejected = DataQualityError(validation.errors, "/quarantine", validation.findings)
    with pytest.raises(DataQualityError), opened(emitter):
        raise rejected
    _, end = emitter.events()
    assert (end["eventType"], end["outputs"]) == ("FAIL", [])
    assert "3 rows have no value" in end["run"]["facets"]["errorMessage"]["message"]
    told = end["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"][0]
    assert (told["assertion"], told["success"], told["column"]) == ("nulls", False, "a")


@pytest.mark.parametrize(
    ("error", "state"), [(asyncio.CancelledError, "ABORT"), (KeyboardInterrupt, "ABORT"),
                         (OSError, "FAIL")],
)  # fmt: skip
def test_what_ended_an_ingest_decides_its_state(error, state):
    emitter = MemoryLineage()
    with pytest.raises(error), opened(emitter):
        raise error
    assert [event["eventType"] for event in emitter.events()] == ["START", state]


def test_an_ingest_is_a_part_of_the_run_around_it():
    with part_of(lineage_run("ours", "churn.loop", "key")):
        start, _ = ingested(environment={"OPENLINEAGE_NAMESPACE": "ours"})
    assert start["run"]["facets"]["parent"]["job"]["name"] == "churn.loop"
    assert start["job"]["namespace"] == "ours"


def test_lineage_that_cannot_be_told_stops_no_ingest(monkeypatch):
    monkeypatch.setattr("agentloop.data.lineage.source_names", lambda *_: 1 / 0)
    emitter = MemoryLineage()
    with opened(emitter) as facts:
        facts.kept(VERSION)
    assert list(emitter.events()) == []


@pytest.mark.parametrize("url", [
    "postgresql://bob:s3cr@t/x?@db.example:5433/shop",
    "postgresql://bob:s3cr@db.example:5433/shop?password=s3cr&sslpassword=s3cr",
    "postgres://:s3cr@DB.example:5433/shop",
])  # fmt: skip
def test_no_password_in_a_url_reaches_an_event(url):
    emitter = MemoryLineage()
    with pytest.raises(ConnectionError), opened(emitter, sql(url)):
        raise ConnectionError(f"connection to {url} failed")
    events = list(emitter.events())
    assert "s3cr" not in str(events)
    source = events[0]["inputs"][0]
    assert source["namespace"] == "postgres://db.example:5433"
    assert source["name"] == "shop.public.orders"


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (config(), [FILE]),
        (config(source={"kind": "csv", "path": "../in/*.csv"}), [("file", "/in/*.csv")]),
        (config(source={"kind": "parquet", "path": "s3://b/k/x"}), [("s3://b", "k/x")]),
        (config(source={"kind": "callable", "target": "m:f"}), [("python", "m.f")]),
        (sql("postgresql:///shop"), [("postgres://localhost:5432", "shop.public.orders")]),
        (sql("postgresql://h/d?port=6000", table="s.t"), [("postgres://h:6000", "d.s.t")]),
        (sql("postgresql://[::1]:5433/d"), [("postgres://[::1]:5433", "d.public.orders")]),
        (sql("sqlite:///x.db"), [("sqlite:///data/x.db", "main.orders")]),
        (
            sql("duckdb:///x.db", query="WITH c AS (SELECT * FROM a) SELECT * FROM c JOIN s.b"),
            [("duckdb:///data/x.db", "main.a"), ("duckdb:///data/x.db", "s.b")],
        ),
        (sql("postgresql://[bad/d"), [("unknown", "orders")]),
    ],
)
def test_a_source_is_named_as_the_specification_wants(spec, names):
    assert list(source_names(spec.source, Path("/data"), {})) == names


def test_a_url_out_of_the_environment_is_named_without_its_password():
    spec = config(source={"kind": "sql", "url_env": "SHOP", "table": "orders"})
    environment = {"SHOP": "postgresql://bob:s3cr@h/shop"}
    (name,) = source_names(spec.source, Path("/data"), environment)
    assert name == ("postgres://h:5432", "shop.public.orders")
    assert source_names(spec.source, Path("/data"), {}) == (("environment", "$SHOP"),)


def origins(steps, columns, **extra):
    found = column_origins(config(steps=steps, **extra), columns, FILE)
    return {name: {i.column for i in inputs} for name, inputs in found.items()}


def test_a_derived_column_is_made_of_what_its_expression_reads():
    steps = [
        {"kind": "derive", "column": "ratio", "sql": "a / b"},
        {"kind": "derive", "column": "more", "sql": "ratio * 2 + c"},
    ]
    found = origins(steps, ("a", "c", "ratio", "more"), drop=["b"])
    assert found == {"a": {"a"}, "c": {"c"}, "ratio": {"a", "b"}, "more": {"a", "b", "c"}}


def test_a_column_whose_origin_is_not_known_is_left_out():
    steps = [
        {"kind": "derive", "column": "odd", "sql": "sum(a)"},
        {"kind": "derive", "column": "odder", "sql": "odd + 1"},
    ]
    assert origins(steps, ("a", "odd", "odder")) == {"a": {"a"}}


def test_what_steps_do_to_a_column_is_told():
    steps = [
        {"kind": "impute", "columns": ["a"], "statistic": "median"},
        {"kind": "clip", "columns": ["a"], "low": 0},
    ]
    found = column_origins(config(steps=steps), ("a", "b"), FILE)
    assert (found["a"][0].how, found["b"][0].how) == ("TRANSFORMATION", "IDENTITY")
    assert found["a"][0].description == "impute median; clip to [0, …]"


def test_what_decides_which_rows_there_are_is_told():
    spec = config(
        source={"kind": "csv", "path": "x", "time_column": "t", "since": "2026-01-01"},
        steps=[{"kind": "drop_duplicates", "columns": ["email"]}],
    )
    assert [(f.column, f.how) for f in row_filters(spec, FILE)] == [
        ("t", "FILTER"),
        ("email", "FILTER"),
    ]


def test_a_query_over_several_tables_has_no_column_lineage():
    spec = sql("duckdb:///x.db", query="SELECT * FROM a JOIN b USING (k)")
    end = ingested(spec)[1]
    assert [i["name"] for i in end["inputs"]] == ["main.a", "main.b"]
    assert "columnLineage" not in end["outputs"][0]["facets"]


def test_a_version_in_a_remote_place_keeps_its_uri():
    emitter = MemoryLineage()
    with opened(emitter) as facts:
        facts.kept(replace(VERSION, uri="s3://bucket/d1"))
    facets = list(emitter.events())[1]["outputs"][0]["facets"]
    assert facets["dataSource"]["uri"] == "s3://bucket/d1"
    assert "symlinks" not in facets
