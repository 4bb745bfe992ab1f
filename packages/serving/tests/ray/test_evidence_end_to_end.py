"""Counts and copies from real replicas to the edge's actor, on a Ray cluster of this file's own."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import time
from dataclasses import replace

import pytest

from agentloop.contracts.traffic import ShadowCounts
from agentloop.lifecycle import MemoryRegistry, open_signer
from agentloop.serving import control_store, read_endpoint
from agentloop.serving.judging.counts import slower_than

pytestmark = pytest.mark.ray
ROWS = [{"size": size, "age": 30, "colour": "blue"} for size in (8.0, 9.0, 10.5, 12.0)]
BODIES = [
    json.dumps(
        {
            "inputs": [
                {"name": "size", "datatype": "FP64", "shape": [1], "data": [row["size"]]},
                {"name": "age", "datatype": "INT64", "shape": [1], "data": [row["age"]]},
                {"name": "colour", "datatype": "BYTES", "shape": [1], "data": [row["colour"]]},
            ]
        }
    ).encode()
    for row in ROWS
]


class World:
    def __init__(self, home, spec, registry, signer, versions, load_report):
        from agentloop.serving import BlueGreenDeployment

        self.home, self.store, self.versions = home, control_store(home), versions

        def deployment(**rollout):
            changed = spec.rollout.model_copy(update=rollout)
            return BlueGreenDeployment(
                spec.model_copy(update={"rollout": changed}),
                home=home,
                registry=registry,
                trusted_key=signer.public_key,
                load_report=load_report,
            )

        self.deployment = deployment
        self.blue_green = deployment()

    def send(self, number):
        address = read_endpoint(self.home)
        connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
        statuses = set()
        for index in range(number):
            connection.request("POST", "/v2/models/tiny/infer", BODIES[index % len(BODIES)])
            answer = connection.getresponse()
            answer.read()
            statuses.add(answer.status)
        connection.close()
        return statuses

    def evidence(self, version):
        found = {t.version: t for t in self.blue_green.traffic("tiny")}
        return found[version.version].evidence

    def until(self, condition, seconds=15):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def world(kit, cluster):
    base, home, spec = cluster.base, cluster.home, kit.spec()
    from agentloop.serving import start_serving_plane, stop_serving_plane

    registry, signer = MemoryRegistry(), open_signer(base / "keys")
    versions = [kit.register(base / "b", registry, number) for number in (1, 2)]
    try:
        start_serving_plane(home, spec.serving)
        found = World(home, spec, registry, signer, versions, kit.approve_all(signer))
        asyncio.run(found.blue_green.deploy_model(versions[0]))
        asyncio.run(found.blue_green.stage(versions[1]))
        yield found
    finally:
        stop_serving_plane(home)


def shadow(world, percent):
    split = world.store.split("tiny")
    green = world.versions[1].version
    world.store.put_split(
        replace(
            split,
            epoch=split.epoch + 1,
            shadow=green if percent else None,
            shadow_percent=percent,
        )
    )
    world.blue_green._plane.reconcile()


def test_replicas_tell_what_they_answered(world):
    blue = world.versions[0]
    before = world.evidence(blue)
    assert world.send(40) == {200}
    world.until(lambda: world.evidence(blue).answers == before.answers + 40)
    found = world.evidence(blue)
    live = {name: n - before.predictions.get(name, 0) for name, n in found.predictions.items()}
    assert sum(live.values()) == 40
    assert set(live) <= {":a", ":b"}
    assert sum(found.latency.values()) == found.answers
    assert slower_than(found.latency, 10_000.0) == 0


def test_copies_reach_the_shadow_and_are_compared(world):
    blue, green = world.versions
    before = world.evidence(green)
    shadow(world, 100.0)
    assert world.send(40) == {200}

    def compared():
        return world.evidence(blue).shadows.get(green.version, ShadowCounts()).compared

    world.until(lambda: compared() == 40)
    counts = world.evidence(blue).shadows[green.version]
    assert (counts.failed, counts.dropped) == (0, 0)
    assert 0 <= counts.disagreed <= 40
    world.until(lambda: world.evidence(green).answers == before.answers + 40)
    assert world.evidence(green).predictions == before.predictions  # a copy is nobody's prediction
    shadow(world, 0.0)
    world.send(20)
    assert compared() == 40


def test_an_edge_actor_that_was_killed_counts_on_from_there(world):
    import ray

    from agentloop.serving.edge.ray_edge import find_edge_actor

    blue = world.versions[0]
    pid, _ = ray.get(find_edge_actor().pids.remote())
    os.kill(pid, signal.SIGKILL)
    assert world.send(10) == {200}

    def again():
        try:
            return ray.get(find_edge_actor().pids.remote(), timeout=2)[0] != pid
        except Exception:
            return False

    world.until(again)
    # The replica's next message is the base of a table that knows nothing yet.
    world.until(lambda: world.send(1) and world.evidence(blue).answers > 0)
    time.sleep(0.3)  # the last of these are told
    before = world.evidence(blue).answers
    world.send(10)
    world.until(lambda: world.evidence(blue).answers == before + 10)


def test_a_shadow_is_promoted_on_the_answers_to_copies(world):
    green = world.versions[1]
    deployment = world.deployment(strategy="shadow", max_disagreement=0.2)
    result = asyncio.run(deployment.deploy_model(green))
    assert result.status == "completed", result
    assert result.metrics["shadow_compared"] >= 50
    assert world.store.split("tiny").stable == green.version
    assert world.store.split("tiny").shadow is None
