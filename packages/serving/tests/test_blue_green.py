"""Deployments against the in-memory plane: everything but Ray and HAProxy is the real code."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from agentloop.contracts import (
    ArtifactUnverified,
    DeploymentError,
    ModelNotServed,
    RolloutConflict,
    StaleEpoch,
)
from agentloop.serving.control.store import MemoryControlStore, Rollout
from agentloop.serving.edge.duties import RetireVersion, all_on, due
from agentloop.serving.fakes import MemoryPlane
from agentloop.serving.rollout.blue_green import BlueGreenDeployment


class Clock:
    """A clock that moves a little at each look, so that waits end."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@pytest.fixture
def store():
    return MemoryControlStore()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(loop_spec, store, registry, signer, load_report, clock, tmp_path):
    ids = map(str, itertools.count(1))

    def build(plane=None, rollout=None, reports=load_report):
        changed = loop_spec.rollout.model_copy(update=rollout or {})
        return BlueGreenDeployment(
            loop_spec.model_copy(update={"rollout": changed}),
            home=Path(tmp_path),
            registry=registry,
            trusted_key=signer.public_key,
            load_report=reports,
            store=store,
            plane=plane or MemoryPlane(store),
            clock=clock,
            new_id=lambda: next(ids),
        )

    return build


async def test_a_first_version_goes_straight_to_all_traffic(make, make_version, store, registry):
    mv = make_version(1)
    result = await make().deploy_model(mv)
    assert result.status == "completed"
    assert store.split("tiny").weights == {mv.version: 100.0}
    assert registry.get("tiny", mv.version).stage == "Monitoring"
    assert registry.alias("tiny", "champion").version == mv.version


async def test_the_next_version_is_judged_in_steps_and_the_old_one_stays_warm(
    make, make_version, store, clock
):
    plane = MemoryPlane(store)
    first, second = make_version(1), make_version(2)
    blue_green = make(plane)
    await blue_green.deploy_model(first)
    result = await blue_green.deploy_model(second)
    assert result.status == "completed"
    assert result.metrics["canary_requests"] >= 150
    assert store.split("tiny").stable == second.version
    assert set(plane.running) == {("tiny", first.version), ("tiny", second.version)}
    assert due(store.splits(), store.bakes(), store.staged(), clock.now) == ()
    later = due(store.splits(), store.bakes(), store.staged(), clock.now + 61)
    assert later == (RetireVersion("tiny", first.version),)


async def test_a_version_that_fails_is_rolled_back_with_reasons(
    make, make_version, store, registry
):
    first, second = make_version(1), make_version(2)
    blue_green = make(MemoryPlane(store, {second.version: 0.5}))
    await blue_green.deploy_model(first)
    result = await blue_green.deploy_model(second)
    assert result.status == "rolled_back"
    assert "errors" in result.reasons[0]
    assert store.split("tiny").weights[first.version] == 100
    assert result.metrics["probe_failures"] == 0
    assert registry.alias("tiny", "champion").version == first.version
    assert registry.get("tiny", second.version).stage == "Staging"


async def test_without_traffic_a_rollout_is_held(make, make_version, store):
    first, second = make_version(1), make_version(2)
    blue_green = make(rollout={"probe": False, "max_wait_seconds": 0.1})
    await blue_green.deploy_model(first)
    result = await blue_green.deploy_model(second)
    assert result.status == "held"
    assert store.split("tiny").weights == {first.version: 100.0, second.version: 0.0}


async def test_deploying_what_is_there_changes_nothing(make, make_version, store):
    plane, mv = MemoryPlane(store), make_version(1)
    blue_green = make(plane)
    first = await blue_green.deploy_model(mv)
    again = await blue_green.deploy_model(mv)
    assert again.deployment_id == first.deployment_id
    assert plane.provisioned == [mv.version]
    assert store.split("tiny").epoch == 1


async def test_no_report_no_traffic_but_staging_is_allowed(make, make_version, store):
    def missing(_):
        raise FileNotFoundError

    mv, blue_green = make_version(1), make(reports=missing)
    staged = await blue_green.stage(mv)
    assert staged.url.endswith(f"/_versions/tiny/{mv.version}")
    with pytest.raises(ArtifactUnverified):
        await blue_green.deploy_model(mv)
    with pytest.raises(ArtifactUnverified):
        await blue_green.canary_rollout(staged, 10)
    assert store.split("tiny") is None


async def test_a_report_about_another_model_is_refused(make, make_version, load_report):
    first, second = make_version(1), make_version(2)
    blue_green = make(reports=lambda mv: load_report(first))
    with pytest.raises(ArtifactUnverified):
        await blue_green.deploy_model(second)


async def test_replicas_that_crash_fail_the_deployment(make, make_version, store):
    first, second = make_version(1), make_version(2)
    blue_green = make(MemoryPlane(store, broken=[second.version]))
    await blue_green.deploy_model(first)
    with pytest.raises(DeploymentError, match="crashed"):
        await blue_green.deploy_model(second)
    assert store.split("tiny").weights == {first.version: 100.0}
    assert store.rollouts("tiny")[-1].state == "failed"


async def test_another_live_rollout_is_a_conflict(make, make_version, store, clock):
    first, second = make_version(1), make_version(2)
    blue_green = make()
    await blue_green.deploy_model(first)
    store.claim(Rollout("x", "tiny", "other", "running", 0, clock.now + 60), clock.now)
    with pytest.raises(RolloutConflict):
        await blue_green.deploy_model(second)


@pytest.mark.parametrize("killed_after", ["stage", "claim", "canary", "settle"])
async def test_a_killed_deployment_goes_on_with_the_same_one(
    make, make_version, store, clock, killed_after
):
    plane, (first, second) = MemoryPlane(store), (make_version(1), make_version(2))
    await make(plane).deploy_model(first)
    dying = make(plane)
    green = await dying.stage(second)
    if killed_after != "stage":
        store.claim(
            Rollout("7", "tiny", second.version, "running", 0, clock.now + 9, first.version),
            clock.now,
        )
    if killed_after in ("canary", "settle"):
        dying._staging.approve(second)
        await dying.canary_rollout(green, 50)
    if killed_after == "settle":
        await dying.complete_rollout(green)
    result = await make(plane).deploy_model(second)
    assert result.status == "completed", result.reasons
    assert killed_after == "stage" or result.deployment_id == "7"
    assert plane.provisioned == [first.version, second.version]
    assert store.split("tiny").stable == second.version
    assert [bake.version for bake in store.bakes()] == [first.version]


async def test_a_controller_that_was_overtaken_stops(make, make_version, store):
    first, second = make_version(1), make_version(2)
    blue_green = make()
    await blue_green.deploy_model(first)
    green = await blue_green.stage(second)
    blue_green._staging.approve(second)
    await blue_green.canary_rollout(green, 10)
    store.put_split(all_on(store.split("tiny"), first.version))
    with pytest.raises(StaleEpoch):
        await blue_green.canary_rollout(green, 50)
    assert store.split("tiny").weights[first.version] == 100


async def test_rollback_returns_to_the_version_before(make, make_version, store, registry):
    first, second = make_version(1), make_version(2)
    blue_green = make()
    await blue_green.deploy_model(first)
    await blue_green.deploy_model(second)
    result = await blue_green.rollback("tiny")
    assert (result.status, result.model_version) == ("rolled_back", first.version)
    assert store.split("tiny").stable == first.version
    assert registry.get("tiny", second.version).stage == "Staging"
    with pytest.raises(DeploymentError, match="no earlier"):
        await blue_green.rollback("tiny")


async def test_rollback_starts_a_retired_version_again(make, make_version, store):
    plane, (first, second) = MemoryPlane(store), (make_version(1), make_version(2))
    blue_green = make(plane)
    await blue_green.deploy_model(first)
    await blue_green.deploy_model(second)
    plane.retire(next(s for s in store.staged() if s.version == first.version))
    store.remove_staged("tiny", first.version)
    result = await blue_green.rollback("tiny")
    assert result.model_version == first.version
    assert ("tiny", first.version) in plane.running


async def test_rollback_of_an_unknown_model_says_so(make):
    with pytest.raises(ModelNotServed):
        await make().rollback("nobody")


async def test_restore_starts_what_the_store_wants(make, make_version, store):
    first, second = make_version(1), make_version(2)
    await make().deploy_model(first)
    await make().deploy_model(second)
    retiring = next(s for s in store.staged() if s.version == first.version)
    store.put_staged(replace(retiring, retiring=True))
    fresh = MemoryPlane(store)
    assert await make(fresh).restore() == (second.version,)
    assert list(fresh.running) == [("tiny", second.version)]


def test_the_steps_can_be_walked_by_hand(make, make_version, store):
    async def walk():
        first, second = make_version(1), make_version(2)
        blue_green = make()
        await blue_green.deploy_model(first)
        green = await blue_green.deploy_to_green(second)
        await blue_green.run_smoke_tests(green)
        blue_green._staging.approve(second)
        await blue_green.canary_rollout(green)
        evidence = await blue_green.monitor_deployment(green, duration=5)
        assert blue_green.validate_deployment_metrics(evidence).verdict == "promote"
        assert (await blue_green.rollback_deployment(green)).weights[first.version] == 100
        return await blue_green.complete_rollout(green)

    assert asyncio.run(walk()).stable == "0.2.0-aaaaaaaa-bbbbbbb2"
