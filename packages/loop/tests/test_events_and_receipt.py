"""The loop's log survives a torn line; a receipt is made of stage outcomes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from agentloop.loop.events import EventLog
from agentloop.loop.receipt import build_receipt

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def outcome(**value: object) -> dict[str, object]:
    return {"seconds": 1.5, "summary": "", "value": value}


def test_a_torn_line_is_skipped(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    assert list(log.read()) == []
    log.append("approved", "m", NOW, "1.0.0", reasons=["fine"])
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"at": "2026')
    events = list(log.read())
    assert [event.kind for event in events] == ["approved"]
    assert events[0].detail == {"reasons": ["fine"]}


def test_a_rejected_run_has_a_receipt_without_an_endpoint() -> None:
    trained = {"model_version": {"version": "1.0.0"}, "run_id": "r", "metrics": {"accuracy": 0.5}}
    outcomes = {
        "ingest": outcome(version="d1"),
        "train": outcome(**trained),
        "validate": outcome(approved=False, reasons=["low"], recommendations=[], report="x.html"),
    }
    receipt = build_receipt("m", outcomes, 2.0, "http://d", "sqlite:///x", {})
    assert not receipt.decision.approved
    assert receipt.decision.reasons == ("low",)
    assert (receipt.endpoint, receipt.curl) == ("", "")
    assert [stage.name for stage in receipt.stages] == ["cluster", "ingest", "train", "validate"]
