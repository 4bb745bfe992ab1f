from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agentloop.contracts import MonitoringError, MonitoringSpec, PortInUse
from agentloop.contracts.spec import BusinessValueSpec
from agentloop.lifecycle import ReferenceProfile
from agentloop.monitoring import FlushMessage, MonitoringPlane
from agentloop.monitoring.counts import LATENCY_BOUNDS, CountLayout, RequestTally
from agentloop.monitoring.prometheus_metrics import MetricsServer

SPEC = MonitoringSpec(
    business_value=(BusinessValueSpec(use_case="triage", per_prediction=0.5),), port=0
)


def clock() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def message(
    profile: ReferenceProfile, data: Any, sequence: int, edge_hash: str | None = None
) -> FlushMessage:
    columns, labels = data
    layout, tally = CountLayout(profile), RequestTally()
    tally.add("infer", 200, 0.002)
    return FlushMessage(
        "flowers", "1.0.0", "replica-1", sequence, edge_hash or profile.edge_hash,
        layout.encode(layout.fold(columns, labels)), len(labels),
        (("infer", 200, 1),), tally.latencies(),
    )  # fmt: skip


@pytest.fixture
def plane(profile: ReferenceProfile, tmp_path: Path) -> MonitoringPlane:
    made = MonitoringPlane(tmp_path, clock)
    made.watch("flowers", "1.0.0", profile, SPEC, accuracy=0.97)
    return made


def scrape(plane: MonitoringPlane) -> dict[str, Any]:
    server = MetricsServer(plane, 0)
    try:
        text = urllib.request.urlopen(server.url, timeout=5).read().decode()
    finally:
        server.close()
    return {s.name: s for f in text_string_to_metric_families(text) for s in f.samples} | {
        "text": text
    }


def test_retried_message_is_counted_once(
    plane: MonitoringPlane, profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    flush = message(profile, rows(10, 1), sequence=1)
    assert [plane.flush(flush), plane.flush(flush)] == ["merged", "duplicate"]
    assert plane.watches()[0].state.answered == 10


def test_other_bins_are_refused_whole(
    plane: MonitoringPlane, profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    assert plane.flush(message(profile, rows(10, 1), 1, edge_hash="feed")) == "other-bins"
    assert plane.watches()[0].state.requests == {}


def test_counts_of_an_unknown_version_are_asked_for_again(
    profile: ReferenceProfile, rows: Callable[..., Any], tmp_path: Path
) -> None:
    empty = MonitoringPlane(tmp_path, clock)
    assert empty.flush(message(profile, rows(1, 1), 1)) == "unwatched"


def test_shifted_traffic_raises_one_alarm_event(
    plane: MonitoringPlane, profile: ReferenceProfile, rows: Callable[..., Any], tmp_path: Path
) -> None:
    for sequence in range(1, 13):
        plane.flush(message(profile, rows(250, sequence, 1.0), sequence))
        plane.cycle("flowers")
    report = plane.report("flowers")
    assert report is not None
    assert report.alarm
    assert report.score is not None
    assert report.score > 0.1
    assert [c.column for c in report.columns if c.alarm] == ["x0"]
    events = (tmp_path / "flowers" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in events] == ["drift.alarm"]


def test_quiet_traffic_shows_a_score_under_the_limit(
    plane: MonitoringPlane, profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    plane.flush(message(profile, rows(1500, 1), 1))
    (report,) = plane.cycle("flowers")
    assert not report.alarm
    assert report.score is not None
    assert report.score < 0.1


def test_restart_goes_on_where_it_was(
    plane: MonitoringPlane, profile: ReferenceProfile, rows: Callable[..., Any], tmp_path: Path
) -> None:
    for sequence in (1, 2):
        plane.flush(message(profile, rows(700, sequence, 1.0), sequence))
        plane.cycle("flowers")
    again = MonitoringPlane(tmp_path, clock)
    again.resume()
    old, new = plane.watches()[0].state, again.watches()[0].state
    assert again.flush(message(profile, rows(1, 1), 2)) == "duplicate"
    assert (new.answered, new.requests, new.report) == (old.answered, old.requests, old.report)
    assert new.detector.log_wealth == pytest.approx(old.detector.log_wealth, rel=1e-5)


def test_new_version_is_watched_beside_the_old(
    plane: MonitoringPlane, profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    plane.flush(message(profile, rows(10, 1), 1))
    plane.watch("flowers", "1.1.0", profile, SPEC)
    plane.watch("flowers", "1.0.0", profile, SPEC)
    answered = {w.version: w.state.answered for w in plane.watches()}
    assert answered == {"1.1.0": 0, "1.0.0": 10}


def test_damaged_file_is_a_typed_error(profile: ReferenceProfile, tmp_path: Path) -> None:
    (tmp_path / "flowers.json").write_text("{")
    with pytest.raises(MonitoringError, match=r"flowers\.json"):
        MonitoringPlane(tmp_path, clock).watch("flowers", "1.0.0", profile, SPEC)


def test_metrics_have_the_promised_names_labels_and_buckets(
    plane: MonitoringPlane, profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    plane.flush(message(profile, rows(1500, 1), 1))
    plane.cycle("flowers")
    plane.record_labels("flowers", "1.0.0", correct=9, total=10)
    seen = scrape(plane)
    labels = {name: set(s.labels) for name, s in seen.items() if name != "text"}
    version = {"model_version"}
    assert labels["model_inference_requests_total"] == version | {"endpoint", "status"}
    assert labels["model_inference_duration_seconds_bucket"] == version | {"endpoint", "le"}
    assert labels["model_drift_score"] == version | {"drift_type"}
    assert labels["model_accuracy"] == version | {"dataset"}
    assert labels["business_value_generated"] == version | {"use_case", "value_type"}
    assert seen["business_value_generated"].value == 750.0
    for bound in LATENCY_BOUNDS:
        assert f'le="{bound}"' in seen["text"]
    for kind in ("data", "prediction", "feature:x0"):
        assert f'drift_type="{kind}"' in seen["text"]
    assert 'model_accuracy{dataset="live",model_version="1.0.0"} 0.9' in seen["text"]


def test_taken_port_is_a_typed_error(plane: MonitoringPlane) -> None:
    first = MetricsServer(plane, 0)
    try:
        with pytest.raises(PortInUse) as caught:
            MetricsServer(plane, first.port)
        assert caught.value.port == first.port
    finally:
        first.close()
