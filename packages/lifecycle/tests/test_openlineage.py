"""Lineage is kept in memory and in a file, whole and in OpenLineage's form."""

import json
import threading
from dataclasses import replace

import pytest

from agentloop.lifecycle.lineage import lineage_run, parent_run, part_of
from agentloop.lifecycle.lineage_testing import DATASET, EVENT, LineageSuite
from agentloop.lifecycle.openlineage_emitter import FileLineage, MemoryLineage, open_lineage
from agentloop.lifecycle.openlineage_events import as_openlineage, without_secrets

FULL = replace(
    EVENT,
    state="FAIL",
    outputs=(replace(DATASET, link=("file", "/d"), file_format="parquet", description="rows"),),
    error="it broke",
    engine=("Ray", "2.60.0"),
    code_version="0.1.0",
    run=replace(EVENT.run, description="reads", parent=lineage_run("agentloop", "m.loop", "k")),
)
# What https://openlineage.io/spec/2-0-2/OpenLineage.json and the facets' schemas require.
REQUIRED = {
    "columnLineage": {"fields"},
    "dataQualityAssertions": {"assertions"},
    "dataQualityMetrics": {"columnMetrics", "rowCount"},
    "errorMessage": {"message", "programmingLanguage"},
    "jobType": {"processingType", "integration"},
    "parent": {"run", "job"},
    "processing_engine": {"version"},
    "sourceCodeLocation": {"type", "url"},
    "storage": {"storageLayer"},
    "version": {"datasetVersion"},
}


class TestMemory(LineageSuite):
    @pytest.fixture
    def emitter(self):
        return MemoryLineage()

    @pytest.fixture
    def received(self, emitter):
        return lambda: list(emitter.events())


class TestFile(LineageSuite):
    @pytest.fixture
    def emitter(self, tmp_path):
        return open_lineage(tmp_path, {})

    @pytest.fixture
    def received(self, tmp_path):
        lines = (tmp_path / "lineage" / "events.jsonl").read_text
        return lambda: [json.loads(line) for line in lines().splitlines()]


def facets(event):
    yield from event["run"]["facets"].items()
    yield from event["job"]["facets"].items()
    for dataset in (*event["inputs"], *event["outputs"]):
        for kind in ("facets", "inputFacets", "outputFacets"):
            yield from dataset.get(kind, {}).items()


def test_every_facet_has_what_its_schema_requires():
    found = dict(facets(as_openlineage(FULL)))
    assert set(REQUIRED) <= set(found)
    for name, facet in found.items():
        assert facet["_producer"].startswith("urn:")
        assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/")
        assert REQUIRED.get(name, set()) <= set(facet), name


def test_an_event_has_what_the_schema_requires():
    event = as_openlineage(FULL)
    assert {"eventTime", "producer", "schemaURL", "run", "job"} <= set(event)
    assert event["schemaURL"].endswith("OpenLineage.json#/$defs/RunEvent")
    json.dumps(event, allow_nan=False)


def test_a_line_that_a_kill_cut_short_is_skipped_and_the_next_is_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    emitter = FileLineage(path)
    emitter.emit(EVENT)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    assert len(list(emitter.events())) == 1
    emitter.emit(replace(EVENT, state="COMPLETE"))
    assert [event["eventType"] for event in emitter.events()] == ["START", "COMPLETE"]


def test_what_cannot_be_kept_is_one_warning_and_no_error(tmp_path):
    (tmp_path / "lineage").write_text("a file where the folder goes")
    told = []
    emitter = open_lineage(tmp_path, {}, told.append)
    for _ in range(3):
        emitter.emit(EVENT)
    assert len(told) == 1
    assert told[0].startswith("lineage: an event was not kept")


def test_writers_at_the_same_time_write_whole_lines(tmp_path):
    def write():
        for _ in range(20):
            open_lineage(tmp_path, {}).emit(EVENT)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = (tmp_path / "lineage" / "events.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 80


def test_disabled_lineage_writes_nothing(tmp_path):
    open_lineage(tmp_path, {"OPENLINEAGE_DISABLED": "true"}).emit(EVENT)
    assert not list(tmp_path.iterdir())


def test_a_parent_is_seen_inside_of_it_only():
    loop = lineage_run("agentloop", "m.loop", "k")
    with part_of(loop):
        assert parent_run() is loop
    assert parent_run() is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@ss@h/db", "postgresql://u:***@h/db"),
        ("host=h password='a b' user=u", "host=h password=*** user=u"),
        ('{"PGPASSWORD": "a b"}', '{"PGPASSWORD": ***}'),
        ("http://h:5000/api", "http://h:5000/api"),
        ("three passed: 4", "three passed: 4"),
    ],
)
def test_secrets_are_hidden_and_the_rest_is_not(text, shown):
    assert without_secrets(text) == shown
