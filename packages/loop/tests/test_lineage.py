"""Each stage of a run is a job of its own, and a part of the loop's run."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agentloop.contracts import (
    ColumnSchema,
    DataSchema,
    DatasetVersion,
    ModelVersion,
    Stage,
    to_dict,
)
from agentloop.lifecycle.lineage import parent_run
from agentloop.lifecycle.openlineage_emitter import MemoryLineage
from agentloop.loop.lineage import LoopLineage, recorded
from agentloop.loop.stages import StageOutcome

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = DataSchema((ColumnSchema("a", "number"), ColumnSchema("y", "category")), "y")
DATASET = DatasetVersion("m", "d1", "hash", 569, "/home/d1", SCHEMA, "rev", "2026-01-02")
MODEL = ModelVersion(
    "m", "1.0.0", Stage.DEVELOPMENT, "d", "/bundle", "r", "d1", {"accuracy": 0.97, "train_loss": 1}
)
DEPLOYED = {"status": "completed", "endpoint": "http://127.0.0.1:1/v2/models/m/infer"}


class Stages:
    """``values`` maps a stage to its outcome's value, or to what it raises."""

    def __init__(self, **values):
        self.lineage = LoopLineage("m", "key", MemoryLineage(), lambda: NOW)
        self.values = values
        self.parents = []

    async def _done(self, stage):
        self.parents.append(parent_run())
        value = self.values[stage]
        if isinstance(value, BaseException):
            raise value
        return StageOutcome(value, "")

    @recorded
    async def ingest(self):
        return await self._done("ingest")

    @recorded
    async def train(self, dataset, training_round):
        return await self._done("train")

    @recorded
    async def validate(self, version):
        return await self._done("validate")

    @recorded
    async def deploy(self, version):
        return await self._done("deploy")

    @recorded
    async def monitor(self, version):
        return await self._done("monitor")

    @property
    def events(self):
        return list(self.lineage.emitter.events())

    @property
    def told(self):
        return [(event["job"]["name"], event["eventType"]) for event in self.events]


def stages(approved=True, **changed):
    verdict = {"approved": approved, "reasons": ["accuracy is fine"], "report": "/r.html"}
    values = {
        "ingest": to_dict(DATASET),
        "train": {"model_version": to_dict(MODEL)},
        "validate": verdict,
        "deploy": DEPLOYED,
        "monitor": {},
    }
    return Stages(**{**values, **changed})


async def run(loop):
    """As the workflow does."""
    dataset = (await loop.ingest()).value
    version = (await loop.train(dataset, 0)).value["model_version"]
    if (await loop.validate(version)).value["approved"]:
        await loop.deploy(version)
        await loop.monitor(version)


async def test_a_run_tells_each_stage_once_and_itself():
    loop = stages()
    await run(loop)
    assert loop.told == [
        ("m.loop", "START"),
        ("m.train", "START"),
        ("m.train", "COMPLETE"),
        ("m.validate", "START"),
        ("m.validate", "COMPLETE"),
        ("m.deploy", "START"),
        ("m.deploy", "COMPLETE"),
        ("m.loop", "COMPLETE"),
    ]


async def test_stages_are_parts_of_the_loops_run_and_so_is_what_they_call():
    loop = stages()
    await run(loop)
    own, *parts = loop.events
    parents = {e["run"]["facets"]["parent"]["run"]["runId"] for e in parts[:-1]}
    assert parents == {own["run"]["runId"]}
    assert {parent.id for parent in loop.parents} == parents


async def test_each_stage_reads_what_the_one_before_it_made():
    loop = stages()
    await run(loop)
    done = {e["job"]["name"]: e for e in loop.events if e["eventType"] == "COMPLETE"}

    def sides(job):
        event = done[job]
        return [
            [(d["name"], d["facets"]["version"]["datasetVersion"]) for d in event[side]]
            for side in ("inputs", "outputs")
        ]

    assert sides("m.train") == [[("dataset/m", "d1")], [("model/m", "1.0.0")]]
    assert sides("m.validate") == [
        [("model/m", "1.0.0"), ("dataset/m", "d1")],
        [("report/m", "1.0.0")],
    ]
    assert sides("m.deploy") == [[("model/m", "1.0.0")], [("endpoint/m", "1.0.0")]]


async def test_a_prediction_is_made_of_the_features():
    loop = stages()
    await loop.train(to_dict(DATASET), 0)
    made = loop.events[-1]["outputs"][0]["facets"]["columnLineage"]["fields"]["prediction"]
    assert [(i["name"], i["field"]) for i in made["inputFields"]] == [("dataset/m", "a")]


async def test_a_rejected_version_ends_the_run_without_a_failure():
    loop = stages(approved=False)
    await run(loop)
    assert loop.told[-2:] == [("m.validate", "COMPLETE"), ("m.loop", "COMPLETE")]
    gate = loop.events[-2]["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"][0]
    assert (gate["assertion"], gate["success"]) == ("deployment_approved", False)


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError("it broke"), "FAIL"), (asyncio.CancelledError(), "ABORT")]
)
async def test_what_a_stage_raises_ends_it_and_the_run(error, state):
    loop = stages(train=error)
    with pytest.raises(type(error)):
        await run(loop)
    assert loop.told[-2:] == [("m.train", state), ("m.loop", state)]


async def test_a_stage_that_is_tried_again_is_the_same_run_and_another_round_is_not():
    loop = stages()
    for training_round in (0, 0, 1):
        await loop.train(to_dict(DATASET), training_round)
    first, again, other = (e["run"]["runId"] for e in loop.events if e["eventType"] == "COMPLETE")
    assert first == again != other


async def test_a_stage_whose_lineage_cannot_be_told_goes_on():
    loop = stages(train={"model_version": {}}, validate={"approved": False, "unexpected": 1})
    outcome = await loop.train({"not": "a dataset"}, 0)
    assert outcome.value == {"model_version": {}}
    await loop.validate(to_dict(replace(MODEL, version="2.0.0")))
    assert loop.told[-1] == ("m.loop", "COMPLETE")
