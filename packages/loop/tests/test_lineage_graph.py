"""The graph is built of events alone, and a name finds its part of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agentloop.lifecycle.lineage import (
    ColumnInput,
    LineageDataset,
    LineageEvent,
    lineage_run,
)
from agentloop.lifecycle.openlineage_events import as_openlineage
from agentloop.loop.lineage_graph import LineageNotFound, build_graph, select

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SOURCE = LineageDataset("source", "file", "/rows.csv")


def thing(kind, version, **more):
    return LineageDataset(kind, "agentloop", f"{kind}/churn", version, **more)


def told(stage, key, inputs=(), outputs=(), state="COMPLETE", second=0, error=""):
    run = lineage_run("agentloop", f"churn.{stage}", key)
    at = NOW + timedelta(seconds=second)
    return as_openlineage(LineageEvent(state, at, run, inputs, outputs, error))


def history(key, data, model, approved=True):
    dataset, version = thing("dataset", data, rows=3), thing("model", model)
    yield told("ingest", key, (SOURCE,), state="START")
    yield told("ingest", key, (SOURCE,), (dataset,), second=2)
    yield told("train", key, (dataset,), (version,), second=3)
    yield told("validate", key, (version, dataset), (thing("report", model),), second=4)
    if approved:
        yield told("deploy", key, (version,), (thing("endpoint", model),), second=5)


EVENTS = [
    *history("one", "d1-aaaa", "1.0.0-aaaa"),
    *history("two", "d2-bbbb", "1.1.0-bbbb", approved=False),
    told("ingest", "three", (SOURCE,), state="FAIL", error="rejected"),
    told("loop", "one"),
]


def found(name):
    nodes = select(build_graph(EVENTS), name).nodes.values()
    things = {(node.kind, node.version) for node in nodes if node.kind != "run"}
    return things, sorted((n.name, n.state) for n in nodes if n.kind == "run")


def test_a_run_has_its_last_state_and_its_times():
    run = next(n for n in build_graph(EVENTS).nodes.values() if n.name == "churn.ingest")
    assert (run.state, run.started[17:19], run.ended[17:19]) == ("COMPLETE", "00", "02")


def test_a_run_that_began_again_is_not_finished():
    events = [*EVENTS, told("ingest", "one", (SOURCE,), state="START", second=9)]
    run = next(n for n in build_graph(events).nodes.values() if n.name == "churn.ingest")
    assert (run.state, run.ended) == ("START", "")


def test_a_name_finds_every_version_and_the_runs_that_failed():
    things, runs = found("churn")
    assert {"source", "dataset", "model", "report", "endpoint"} == {kind for kind, _ in things}
    assert ("churn.ingest", "FAIL") in runs
    assert not [name for name, _ in runs if name == "churn.loop"]


@pytest.mark.parametrize("name", ["d1-aaaa", "1.0.0-aaaa", "1.0", "d1"])
def test_a_version_finds_what_it_came_of_and_what_came_of_it(name):
    things, runs = found(name)
    assert things == {
        ("source", ""),
        ("dataset", "d1-aaaa"),
        ("model", "1.0.0-aaaa"),
        ("report", "1.0.0-aaaa"),
        ("endpoint", "1.0.0-aaaa"),
    }
    assert [name for name, _ in runs] == [
        f"churn.{s}" for s in ("deploy", "ingest", "train", "validate")
    ]


def test_a_version_that_was_rejected_is_served_nowhere():
    assert "endpoint" not in {kind for kind, _ in found("1.1.0-bbbb")[0]}


@pytest.mark.parametrize("name", ["chu", "/rows.csv", "dataset/churn"])
def test_a_beginning_a_path_and_a_full_name_find_it_too(name):
    assert ("dataset", "d2-bbbb") in found(name)[0]


def test_an_unknown_name_is_an_error_that_names_the_nearest():
    with pytest.raises(LineageNotFound) as caught:
        select(build_graph(EVENTS), "chrun")
    assert (caught.value.exit_code, caught.value.known) == (28, ("churn",))
    assert "Did you mean 'churn'?" in str(caught.value)
    assert "agentloop lineage churn" in str(caught.value)


def test_before_any_event_it_says_what_to_run():
    with pytest.raises(LineageNotFound, match="agentloop run"):
        select(build_graph([]), "churn")


def test_columns_know_what_they_are_made_of():
    inputs = (ColumnInput("file", "/rows.csv", "a", "TRANSFORMATION", "a / b"),)
    dataset = replace(thing("dataset", "d1"), origins={"ratio": inputs}, filters=inputs[:1])
    graph = build_graph([told("ingest", "one", (SOURCE,), (dataset,))])
    columns = [(c.column, c.inputs, c.how) for c in graph.columns]
    assert columns[0] == ("ratio", (("/rows.csv", "a"),), "a / b")
    assert columns[1][0] == ""


def test_events_of_others_and_broken_ones_do_no_harm():
    foreign = {
        "eventTime": "2026-01-02T00:00:00Z",
        "eventType": "COMPLETE",
        "run": {"runId": "x"},
        "job": {"namespace": "airflow", "name": "dag.task"},
        "inputs": [{"namespace": "s3://b", "name": "k"}],
    }
    graph = build_graph([{}, {"run": 1}, foreign, *EVENTS])
    assert graph.nodes["s3://b/k"].kind == "source"
    assert len(graph.nodes) == len(build_graph(EVENTS).nodes) + 2
