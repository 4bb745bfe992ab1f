"""A controller may be killed after any of its writes: the next one ends where it would have."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from agentloop.serving.control.sqlite_control_store import SqliteControlStore
from agentloop.serving.rollout.blue_green import BlueGreenDeployment

SCRIPT = Path(__file__).parent / "helpers" / "kill_rollout.py"
ROLLOUT = {"shadow_percent": 50.0, "steps": (50.0, 100.0), "step_seconds": 0.0}


def load_helper():
    """The helper as a module; tests are in no package that it could be imported from."""
    spec = importlib.util.spec_from_file_location("kill_rollout", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def outcome(kit, tmp_path_factory):
    """What the helper saw: one undisturbed run, and one trial for each write of it."""
    from agentloop.lifecycle import open_signer

    helper = load_helper()
    folder = tmp_path_factory.mktemp("kills")
    start = folder / "start"
    start.mkdir()
    registry, signer = helper.FileRegistry(start / "registry.pickle"), open_signer(folder / "keys")
    first, second = (kit.register(folder / "bundles", registry, number) for number in (1, 2))
    registry.save()
    load, spec = kit.approve_all(signer), kit.spec()
    spec = spec.model_copy(update={"rollout": spec.rollout.model_copy(update=ROLLOUT)})
    store = SqliteControlStore(start / "control.db")
    deployment = BlueGreenDeployment(
        spec,
        home=start,
        registry=registry,
        trusted_key=signer.public_key,
        load_report=load,
        store=store,
        plane=helper.FilePlane(store, start / "plane.json"),
    )
    asyncio.run(deployment.deploy_model(first))
    setup = {
        "spec": spec.model_dump(mode="json"),
        "trusted_key": signer.public_key,
        "reports": {mv.version: load(mv) for mv in (first, second)},
        "version": second.version,
    }
    (start / "setup.pickle").write_bytes(pickle.dumps(setup))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_an_undisturbed_run_ends_with_the_version_stable(outcome):
    calm = outcome["calm"]
    assert (calm["split"][2:], calm["ended"], calm["repeated"]) == ([None, None], 1, [])
    assert calm["started"] == [row[0] for row in calm["rollouts"]]
    assert outcome["writes"] >= 30


def test_a_kill_after_any_write_ends_the_same(outcome):
    for trial in outcome["trials"]:
        assert trial["exits"] == [-9, 0], trial
        assert trial["state"] == outcome["calm"], trial["after"]


def test_a_kill_whose_lease_then_ended_ends_the_same(outcome):
    for trial in outcome["expired"]:
        state = {**trial["state"], "repeated": []}  # the shares that were lost are given again
        assert trial["exits"] == [-9, 0], trial
        assert state == outcome["calm"], trial["after"]


def test_a_killed_rollback_is_finished_and_goes_no_further_back(outcome):
    calm = outcome["calm_rollback"]
    assert calm["split"][1] == outcome["calm"]["rollouts"][0][0]
    assert len(outcome["rollbacks"]) >= 10
    for trial in outcome["rollbacks"]:
        state = {**trial["state"], "repeated": []}  # to settle what is settled changes nothing
        assert trial["exits"] == [-9, 0], trial
        assert state == calm, trial["after"]
