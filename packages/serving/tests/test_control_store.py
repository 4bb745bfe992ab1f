"""Every control store passes this."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from agentloop.contracts import (
    RolloutConflict,
    RolloutOvertaken,
    RolloutSpec,
    StaleEpoch,
    TrafficSplit,
)
from agentloop.serving.control import sqlite_file
from agentloop.serving.control.rollout_plan import Promote, RolloutPlan
from agentloop.serving.control.sqlite_control_store import SqliteControlStore
from agentloop.serving.control.store import (
    Bake,
    EdgeAddress,
    MemoryControlStore,
    Order,
    Progress,
    Rollout,
    RolloutEvent,
    StagedVersion,
)
from agentloop.serving.endpoints import control_store, read_endpoint, read_split


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


def test_a_takeover_raises_the_fence_and_keeps_the_newest_plan(store):
    plan = RolloutPlan("m", "1", "0", (Promote("1"),), RolloutSpec(strategy="linear"))
    store.claim(rollout("x", "1"), now=0.0)
    taken = store.claim(replace(rollout("y", "1", lease=99.0), plan=plan), now=5.0)
    assert (taken.fence, taken.plan) == (2, plan)
    assert store.rollouts("m") == (taken,)


def test_an_older_controller_is_not_heard(store):
    first = store.claim(rollout("x", "1"), now=0.0)
    second = store.claim(rollout("y", "1"), now=1.0)
    with pytest.raises(RolloutOvertaken, match="another controller"):
        store.put_rollout(replace(first, lease_until=99.0))
    store.put_rollout(replace(second, lease_until=50.0))
    assert store.rollouts("m")[0].lease_until == 50.0


def test_what_has_ended_does_not_run_again(store):
    running = store.claim(rollout("x", "1"), now=0.0)
    store.put_rollout(replace(running, state="aborted"))
    with pytest.raises(RolloutOvertaken, match="it is aborted"):
        store.put_rollout(running)
    store.put_rollout(replace(running, state="rolled_back"))


def test_a_dead_rollout_ends_when_another_version_takes_its_place(store):
    store.claim(rollout("x", "1"), now=0.0)
    store.claim(rollout("y", "2", lease=30.0), now=11.0)
    old, new = store.rollouts("m")
    assert (old.state, old.ended_at, new.state) == ("failed", 11.0, "running")
    assert "2 was rolled out instead" in old.reasons[0]


def test_orders_and_progress_are_one_a_model(store):
    assert (store.order("m"), store.progress("m")) == (None, None)
    pause, abort = (Order("m", "x", wish, 1.0, "ann") for wish in ("pause", "abort"))
    store.put_order(pause)
    store.put_order(abort)
    assert (store.order("m"), store.order("other")) == (abort, None)
    for _ in range(2):
        store.remove_order("m")
    assert store.order("m") is None
    progress = Progress("m", "x", 2.0, "shift 5%", 1.5, "hold", ("few",), {"log_e": 0.5})
    store.put_progress(progress)
    assert store.progress("m") == progress


def test_readers_need_no_state_folder(tmp_path):
    assert read_endpoint(tmp_path / "nowhere") is None
    assert control_store(tmp_path / "nowhere").events("m") == ()
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(Exception, match="No version of 'm'"):
        read_split(tmp_path / "nowhere", "m")


def test_a_file_that_is_kept_open_keeps_its_log_over_calls(tmp_path):
    store = SqliteControlStore(tmp_path / "control.db")
    log = tmp_path / "control.db-wal"
    store.put_split(split(1))
    assert not log.exists()  # the last to close it wrote it back, and waited for the disk
    kept = store.keep_open()
    store.put_split(split(2))
    store.splits()
    assert log.stat().st_size > 0
    kept.close()
    kept.close()
    assert not log.exists()
    assert store.split("m").epoch == 2


def test_the_log_of_a_file_that_is_kept_open_is_written_back_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "WRITE_BACK_SECONDS", 0.01)
    store = SqliteControlStore(tmp_path / "control.db")
    kept = store.keep_open()
    try:
        for epoch in range(1, 401):
            store.put_split(split(epoch))
            time.sleep(0.001)
        # Else it would be some 4 MB, and writers would have written it back on the way.
        assert (tmp_path / "control.db-wal").stat().st_size < 1_000_000
        assert store.split("m").epoch == 400
    finally:
        kept.close()


def test_a_process_that_is_killed_with_a_file_kept_open_loses_nothing(tmp_path):
    program = (
        "import os, sys; from pathlib import Path;"
        "from agentloop.contracts import TrafficSplit;"
        "from agentloop.serving import SqliteControlStore;"
        "store = SqliteControlStore(Path(sys.argv[1])); kept = store.keep_open();"
        "store.put_split(TrafficSplit('m', {'1': 100.0}, '1', 7)); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "control.db"
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert SqliteControlStore(path).split("m").epoch == 7


def test_a_file_that_is_just_being_made_holds_nothing_yet(tmp_path):
    path = tmp_path / "control.db"
    path.touch()
    store = SqliteControlStore(path)
    assert (store.splits(), store.events("m"), store.address()) == ((), (), None)
    store.put_split(split(1))
    assert store.split("m").epoch == 1
