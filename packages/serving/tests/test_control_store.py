"""Every control store passes this."""

from __future__ import annotations

import threading

import pytest

from agentloop.contracts import RolloutConflict, StaleEpoch, TrafficSplit
from agentloop.serving.control_store import (
    Bake,
    EdgeAddress,
    MemoryControlStore,
    Rollout,
    RolloutEvent,
    StagedVersion,
)
from agentloop.serving.endpoints import read_endpoint, read_split
from agentloop.serving.sqlite_control_store import SqliteControlStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryControlStore()
    return SqliteControlStore(tmp_path / "home" / "control.db")


def split(epoch, model="m"):
    return TrafficSplit(model, {"1": 90.0, "2": 10.0}, "1", epoch, 5.0)


def rollout(deployment_id, version, state="running", lease=10.0):
    return Rollout(deployment_id, "m", version, state, 0.0, lease, "0")


def test_an_empty_store_holds_nothing(store):
    assert (store.address(), store.split("m")) == (None, None)
    assert store.staged() == store.splits() == store.bakes() == store.rollouts("m") == ()


def test_nouns_come_back_as_they_went_in(store):
    staged = StagedVersion("m", "1", "/b", "d", approved=True)
    address, bake = EdgeAddress("127.0.0.1", 1, 2), Bake("m", "1", 7.5)
    event = RolloutEvent(1.0, "m", "x", "intent", "deploy", {"plan": ["Probe"]})
    store.put_address(address)
    store.put_staged(staged)
    store.put_bake(bake)
    store.put_split(split(1))
    store.record(event)
    assert store.address() == address
    assert store.staged() == (staged,)
    assert store.bakes() == (bake,)
    assert store.splits() == (split(1),)
    assert store.events("m") == (event,)
    assert store.events("other") == ()


def test_what_is_removed_is_gone_and_removing_twice_is_fine(store):
    store.put_staged(StagedVersion("m", "1", "/b", "d"))
    store.put_bake(Bake("m", "1", 1.0))
    for _ in range(2):
        store.remove_staged("m", "1")
        store.remove_bake("m", "1")
        store.put_address(None)
    assert store.staged() == store.bakes() == ()


def test_staged_versions_keep_their_order(store):
    for version in ("b", "a", "b"):
        store.put_staged(StagedVersion("m", version, "/", "d"))
    assert [item.version for item in store.staged()] == ["b", "a"]


@pytest.mark.parametrize("older", [0, 1, 2])
def test_an_older_or_equal_epoch_is_refused(store, older):
    store.put_split(split(2))
    store.put_split(split(1, model="other"))
    with pytest.raises(StaleEpoch):
        store.put_split(split(older))
    assert store.split("m").epoch == 2


def test_of_many_writers_of_one_epoch_one_wins(store):
    won = []

    def write():
        try:
            store.put_split(split(1))
            won.append(1)
        except StaleEpoch:
            pass

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_live_rollout_of_another_version_is_a_conflict(store):
    store.claim(rollout("x", "1"), now=0.0)
    with pytest.raises(RolloutConflict):
        store.claim(rollout("y", "2"), now=9.0)
    assert [r.deployment_id for r in store.rollouts("m")] == ["x"]


def test_an_expired_or_ended_rollout_is_none(store):
    store.claim(rollout("x", "1"), now=0.0)
    store.claim(rollout("y", "2", lease=30.0), now=11.0)
    store.put_rollout(rollout("y", "2", state="completed", lease=30.0))
    assert store.claim(rollout("z", "3", lease=30.0), now=12.0).deployment_id == "z"


def test_the_same_version_takes_its_rollout_over(store):
    store.claim(rollout("x", "1"), now=0.0)
    taken = store.claim(rollout("y", "1", lease=99.0), now=5.0)
    assert (taken.deployment_id, taken.lease_until) == ("x", 99.0)
    assert len(store.rollouts("m")) == 1


def test_readers_need_no_state_folder(tmp_path):
    assert read_endpoint(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(Exception, match="No version of 'm'"):
        read_split(tmp_path / "nowhere", "m")
