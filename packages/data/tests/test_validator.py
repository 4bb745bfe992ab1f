"""The verdict on a batch, from what was counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from agentloop.contracts import ChecksSpec, ColumnSchema, DataSchema
from agentloop.data import DataProfiler, DataValidator
from agentloop.data.batch import Accepted, Example, Tally, TransformedBatch
from agentloop.data.profile_html import render_profile
from agentloop.data.profiler import build_profile
from agentloop.data.sketch import summarise_numbers, summarise_texts

SCHEMA = DataSchema((ColumnSchema("size", "number"), ColumnSchema("y", "category")), "y")
BATCH = TransformedBatch(
    source="rows",
    schema=SCHEMA,
    staging=Path(),
    content_hash="",
    rows=100,
    failing=0,
    anomalies=0,
    tallies={},
    summaries={
        "size": summarise_numbers(np.arange(100.0), 0),
        "y": summarise_texts({"a": 50, "b": 50}, 0),
    },
)


def judge(batch: TransformedBatch, **checks: Any) -> dict[tuple[str, str], str]:
    report = DataValidator(ChecksSpec(**checks)).report(batch)
    return {(f.check, f.severity): f.message for f in report.findings}


async def test_a_sound_batch_has_no_findings() -> None:
    assert await DataValidator(ChecksSpec()).validate(BATCH) == (True, ())
    assert judge(BATCH) == {}


async def test_failing_rows_reject_by_default() -> None:
    batch = replace(
        BATCH, tallies={("minimum", "size"): Tally(3, (Example(6, "-1.0", {"size": "-1.0"}),))}
    )
    is_valid, errors = await DataValidator(ChecksSpec()).validate(batch)
    assert not is_valid
    told = "3 rows are below the declared minimum of 'size' (for instance row 7: -1.0)"
    assert errors == (told,)
    assert judge(batch, on_failure="warn") == {("minimum", "warn"): told}
    assert ("minimum", "quarantine") in judge(batch, on_failure="quarantine")


def test_rows_without_a_target_never_pass() -> None:
    batch = replace(BATCH, tallies={("target", "y"): Tally(1)})
    assert ("target", "quarantine") in judge(batch, on_failure="warn")


def test_too_few_rows_reject_whatever_happens_to_failing_ones() -> None:
    found = judge(replace(BATCH, rows=3), on_failure="warn")
    assert found["min_rows", "reject"] == "3 rows passed; data.checks.min_rows is 50"


def test_many_nulls_reject() -> None:
    size = summarise_numbers(np.arange(40.0), 60)
    batch = replace(BATCH, summaries={**BATCH.summaries, "size": size})
    assert "'size' has 60.0% nulls" in judge(batch)["null_rate", "reject"]
    assert ("null_rate", "warn") in judge(batch, on_failure="quarantine")


def test_anomalies_reject_only_above_their_rate() -> None:
    odd = replace(BATCH, anomalies=20, tallies={("anomaly", "size"): Tally(20)})
    assert "lie far outside the rest, by 'size' (20)" in judge(odd)["anomaly", "warn"]
    assert ("anomaly", "reject") in judge(replace(odd, anomalies=21))
    quiet = judge(replace(odd, anomalies=21), policy={"anomaly": "warn"})
    assert ("anomaly", "warn") in quiet


def test_a_finding_has_its_rows_and_the_policy_that_decided() -> None:
    example = Example(6, "-1.0", {"size": "-1.0"})
    batch = replace(BATCH, tallies={("minimum", "size"): Tally(1, (example,))})
    finding = DataValidator(ChecksSpec(policy={"minimum": "warn"})).report(batch).findings[0]
    assert finding.policy == "data.checks.policy.minimum: warn"
    assert finding.rows == ({"#": "7", "size": "-1.0"},)
    assert finding.message.startswith("1 row is below")


def test_old_data_are_refused_where_freshness_is_asked_for() -> None:
    now = datetime(2026, 1, 3, tzinfo=UTC)
    batch = replace(BATCH, latest_time="2026-01-01T00:00:00")
    report = DataValidator(ChecksSpec(max_age_hours=24)).report(batch, now=now)
    assert "the newest row is 48.0 hours old" in report.errors[0]
    assert DataValidator(ChecksSpec(max_age_hours=72)).report(batch, now=now).is_valid


def test_a_constant_column_is_remarked_and_a_constant_target_rejected() -> None:
    batch = replace(
        BATCH,
        summaries={
            "size": summarise_numbers(np.ones(100), 0),
            "y": summarise_texts({"a": 100}, 0),
        },
    )
    assert set(judge(batch)) == {("constant", "warn"), ("constant", "reject")}


def test_a_batch_is_compared_with_the_last_one() -> None:
    last = Accepted("v", SCHEMA, build_profile(BATCH))
    assert judge(replace(BATCH, history=(last,))) == {}
    moved = replace(
        BATCH,
        history=(last,),
        rows=300,
        summaries={
            "size": summarise_numbers(np.arange(100.0) + 40, 30),
            "y": summarise_texts({"a": 80, "b": 20}, 0),
        },
    )
    report = DataValidator(ChecksSpec()).report(moved)
    assert report.is_valid
    assert [(f.check, f.column) for f in report.findings] == [
        ("volume", None),
        ("null_rate", "size"),
        ("distribution", "size"),
        ("distribution", "y"),
    ]


async def test_the_page_needs_nothing_else_and_escapes_values() -> None:
    y = summarise_texts({"<script>": 3, "b": 1}, 0)
    batch = replace(BATCH, summaries={**BATCH.summaries, "y": y})
    page = render_profile("rows", await DataProfiler().profile(batch))
    assert page.count("<svg") == 3
    assert "<script>" not in page
    assert "http" not in page
