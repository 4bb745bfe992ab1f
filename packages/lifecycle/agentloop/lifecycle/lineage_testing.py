"""The conformance suite that every ``LineageEmitter`` passes.

Subclass it where pytest collects, and give it a fixture ``emitter`` that is empty, and a fixture
``received``: a function that returns what arrived where events go, oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agentloop.contracts.data import ColumnProfile, DataProfile
from agentloop.lifecycle.lineage import (
    ColumnInput,
    LineageAssertion,
    LineageDataset,
    LineageEmitter,
    LineageEvent,
    lineage_run,
)

Received = Callable[[], list[Mapping[str, Any]]]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROFILE = DataProfile(
    3, (ColumnProfile("a", "number", 2, 1, 2, 0.0, float("inf"), quantiles={"0.5": float("nan")}),)
)
SOURCE = LineageDataset(
    kind="source",
    namespace="postgres://db:5432",
    name="shop.public.orders",
    uri="postgresql://bob:s3cr@t@db:5432/shop",
    columns={"a": "number"},
    profile=PROFILE,
    assertions=(LineageAssertion("nulls", False, "a", "warn", "1 row has no value"),),
)
DATASET = LineageDataset(
    kind="dataset",
    namespace="agentloop",
    name="dataset/churn",
    version="d1",
    rows=3,
    columns={"a": "number"},
    origins={"a": (ColumnInput("postgres://db:5432", "shop.public.orders", "a"),)},
    profile=PROFILE,
)
EVENT = LineageEvent("START", NOW, lineage_run("agentloop", "churn.ingest", "key"), (SOURCE,))


class LineageSuite:
    """One short test a promise of the port."""

    def test_an_event_arrives_as_openlineage(
        self, emitter: LineageEmitter, received: Received
    ) -> None:
        emitter.emit(replace(EVENT, state="COMPLETE", outputs=(DATASET,)))
        emitter.flush()
        (event,) = received()
        assert event["eventType"] == "COMPLETE"
        assert event["eventTime"] == "2026-01-02T03:04:05.000+00:00"
        assert event["job"]["name"] == "churn.ingest"
        assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == "d1"

    def test_events_come_in_order_and_are_kept(
        self, emitter: LineageEmitter, received: Received
    ) -> None:
        for state in ("START", "FAIL", "START", "COMPLETE"):
            emitter.emit(replace(EVENT, state=state))
        emitter.flush()
        told = [event["eventType"] for event in received()]
        assert told == ["START", "FAIL", "START", "COMPLETE"]
        assert [event["eventType"] for event in emitter.events()] == told

    def test_a_run_that_is_tried_again_is_the_same_run(
        self, emitter: LineageEmitter, received: Received
    ) -> None:
        for key in ("key", "key", "other"):
            emitter.emit(replace(EVENT, run=lineage_run("agentloop", "churn.ingest", key)))
        emitter.flush()
        first, again, other = (event["run"]["runId"] for event in received())
        assert first == again != other

    def test_no_password_arrives(self, emitter: LineageEmitter, received: Received) -> None:
        said = "could not reach postgresql://bob:s3cr@t@db/shop, password=s3cr@t"
        emitter.emit(replace(EVENT, state="FAIL", error=said))
        emitter.flush()
        assert "s3cr" not in str(received())
        assert "postgresql://bob:***@db/shop" in str(received())

    def test_what_json_cannot_say_is_left_out(
        self, emitter: LineageEmitter, received: Received
    ) -> None:
        emitter.emit(EVENT)
        emitter.flush()
        (event,) = received()
        metrics = event["inputs"][0]["inputFacets"]["dataQualityMetrics"]
        expected = {"nullCount": 1, "distinctCount": 2, "count": 2, "min": 0.0}
        assert metrics["columnMetrics"]["a"] == expected
        assert metrics["rowCount"] == 3

    def test_a_part_names_the_run_it_is_a_part_of(
        self, emitter: LineageEmitter, received: Received
    ) -> None:
        loop = lineage_run("agentloop", "churn.loop", "key")
        emitter.emit(replace(EVENT, run=replace(EVENT.run, parent=loop)))
        emitter.flush()
        parent = received()[0]["run"]["facets"]["parent"]
        assert (parent["run"]["runId"], parent["job"]["name"]) == (loop.id, "churn.loop")
