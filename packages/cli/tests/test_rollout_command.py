"""``agentloop rollout`` as a user types it, on a control store as a controller leaves it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agentloop.contracts import ModelVersion, RolloutSpec, TrafficSplit, to_dict
from agentloop.contracts.models import Stage
from agentloop.serving import (
    Rollout,
    SqliteControlStore,
    StagedVersion,
    control_store,
    plan_rollout,
    run_dir,
)
from agentloop.serving.judging.channel import EVIDENCE_SOCKET
from agentloop.serving.judging.counts import decode
from agentloop.serving.judging.decision import Evidence, Judgement
from agentloop.serving.rollout.log import RolloutLog

OLD, NEW = "1.0.0-aaaaaaaa-bbbbbbbb", "1.1.0-aaaaaaaa-cccccccc"
SPEC = "name: m\ndata: {source: {kind: csv, path: a.csv}, target: y}\n"
NUMBERS = {"log_e_errors_relative": 1.0, "bound_errors_relative": 5.3, "canary_requests": 7.0}


def agentloop(folder: Path, *arguments: str) -> tuple[int, str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    environment["AGENTLOOP_HOME"] = str(folder / "home")
    command = [sys.executable, "-m", "agentloop.cli", "rollout", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loop.yaml").write_text(SPEC)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> SqliteControlStore:
    """Version OLD is stable; the rollout of NEW is at 5%, alive for a minute."""
    store, now = control_store(folder / "home"), time.time()
    settled = TrafficSplit("m", {OLD: 100.0}, OLD, 3)
    plan = plan_rollout(settled, "m", NEW, RolloutSpec())
    store.put_staged(StagedVersion("m", NEW, "/b", "d", approved=True))
    store.put_split(settled)
    rollout = store.claim(Rollout("d1", "m", NEW, "running", now, now + 60, OLD, plan=plan), now)
    store.put_split(TrafficSplit("m", {OLD: 95.0, NEW: 5.0}, OLD, 4, now + 60))
    log = RolloutLog(store, rollout, time.time)
    for stage in ("provision", "probe"):
        log.begin(stage, 3)
        log.record("done", stage, 3)
    log.begin("shift 1%", 3)
    log.record("effect", "shift 1%", 3)
    judgement = Judgement("promote", ("no evidence against the canary",), NUMBERS)
    log.decided("shift 1%", 3, judgement, (Evidence(0.01, 7, 0, 700, 0),))
    log.begin("shift 5%", 4)
    log.record("effect", "shift 5%", 4)
    log.judged(Judgement("hold", ("3 of 5 requests on the canary in this step",), NUMBERS))
    return store


@pytest.mark.usefixtures("store")
def test_status_shows_weights_lease_stages_and_evidence(folder):
    code, out, _ = agentloop(folder, "status")
    assert code == 0
    assert f"m {NEW}: running (canary)" in out
    assert f"5.0%  {NEW}" in out
    assert "lease ends in" in out
    assert "1.00 of  5.30  errors relative" in out
    assert "3 of 5 requests on the canary" in out


def test_status_as_json_says_where_each_stage_is(folder, store):
    view = json.loads(agentloop(folder, "status", "m", "--json")[1])
    states = {stage["name"]: stage["state"] for stage in view["stages"]}
    assert (states["probe"], states["shift 1%"]) == ("done", "done")
    assert (states["shift 5%"], states["promote"]) == ("current", "waiting")
    assert view["headline"] == "running"
    assert view["numbers"] == NUMBERS
    assert [share for _, share in view["shares"]] == [1.0, 5.0]
    assert store.split("m").epoch == view["epoch"] == 4


@pytest.mark.usefixtures("store")
def test_the_page_shows_the_share_over_time(folder):
    code, _, err = agentloop(folder, "status", "--html", "rollout.html")
    page = (folder / "rollout.html").read_text()
    assert (code, "rollout.html" in err) == (0, True)
    assert 'now 5%"' in page
    assert "<svg" in page
    assert "no evidence against the canary" in page


def test_abort_takes_the_traffic_away_at_once(folder, store):
    code, out, err = agentloop(folder, "abort", "--json")
    told = json.loads(out)
    assert (code, told["state"]) == (0, "aborted"), err
    split = store.split("m")
    assert (split.weights, split.epoch, split.lease_until) == ({OLD: 100.0, NEW: 0.0}, 5, None)
    assert [bake.version for bake in store.bakes()] == [NEW]
    assert "the serving plane is down" in told["remarks"][0]
    code, _, err = agentloop(folder, "abort")
    assert (code, f"the last one, of {NEW}, is aborted" in err) == (67, True)


def test_pause_and_resume_leave_an_order_and_say_what_is_next(folder, store):
    code, out, err = agentloop(folder, "pause")
    assert (code, store.order("m").wish) == (0, "pause")
    assert f"The rollout of m {NEW} is paused." in out
    assert "Next: agentloop rollout resume m" in err
    assert json.loads(agentloop(folder, "status", "--json")[1])["headline"] == "paused"
    code, out, _ = agentloop(folder, "resume")
    assert (code, store.order("m")) == (0, None)


def test_a_rollout_whose_controller_is_gone_says_how_to_go_on(folder, store):
    store.put_rollout(replace(store.rollouts("m")[-1], lease_until=time.time() - 1))
    code, out, _ = agentloop(folder, "status", "--watch")  # which has nothing to wait for
    assert (code, "stopped: its controller is gone" in out) == (0, True)
    assert f"Next: agentloop rollout apply m {NEW}" in out
    code, _, err = agentloop(folder, "pause")
    assert (code, f"agentloop rollout apply m {NEW}" in err) == (67, True)


@pytest.mark.usefixtures("store")
def test_history_shows_each_decision_with_its_numbers(folder):
    agentloop(folder, "abort")
    code, out, _ = agentloop(folder, "history")
    assert code == 0
    assert f"{NEW} after {OLD}: aborted" in out
    assert "shift 1%: promote. no evidence against the canary" in out
    view = json.loads(agentloop(folder, "history", "--json")[1])[0]
    stage = next(stage for stage in view["stages"] if stage["name"] == "shift 1%")
    assert stage["numbers"] == NUMBERS
    assert "ended" in [event["action"] for event in view["events"]]


def test_a_plan_is_made_for_a_version_of_the_registry_and_saves_nothing(folder):
    from agentloop.lifecycle.mlflow_registry import MlflowRegistry
    from agentloop.loop.home import StateFolder

    home = StateFolder(folder / "home")
    home.create()
    registry = MlflowRegistry(home.tracking_uri)
    for version in (OLD, NEW):
        mv = ModelVersion("m", version, Stage.STAGING, "d", "/b", "run", "data")
        registry.register(mv, version)
    control_store(home.root).put_split(TrafficSplit("m", {OLD: 100.0}, OLD, 1))
    code, out, _ = agentloop(folder, "plan", "m", "1.1", "--strategy", "linear")
    assert (code, f"{NEW} takes over from {OLD} (linear)" in out) == (0, True)
    assert "shift 30%" in out
    assert "errors: at most 1.00%" in out
    code, out, _ = agentloop(folder, "plan", "--json")
    assert (code, json.loads(out)["version"]) == (0, NEW)
    assert control_store(home.root).rollouts("m") == ()
    (folder / "plan.json").write_text(out)
    code, _, err = agentloop(folder, "apply", "--plan", "plan.json")
    assert (code, "agentloop up" in err) == (72, True)
    assert agentloop(folder, "plan", "m", "9.9")[0] == 43


@pytest.mark.usefixtures("store")
def test_labels_reach_the_edge_of_this_node(folder):
    ask = ("labels", "--version", NEW, "--correct", "9", "--total", "10", "--json")
    code, _, err = agentloop(folder, *ask)
    assert (code, "no edge of it runs" in err) == (67, True)
    place = run_dir(folder / "home")
    place.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as edge:
        edge.settimeout(5)
        edge.bind(str(place / EVIDENCE_SOCKET))
        code, out, _ = agentloop(folder, *ask)
        heard = decode(edge.recv(65536))
    shutil.rmtree(place)
    assert code == 0
    assert json.loads(out) == {"model": "m", "version": NEW, "correct": 9, "total": 10}
    assert (heard.model, heard.version) == ("m", NEW)
    assert (heard.counts.labelled, heard.counts.right) == (10, 9)


@pytest.mark.usefixtures("store")
def test_labels_that_cannot_be_are_refused(folder):
    labels = ("labels", "--version", NEW, "--correct")
    assert agentloop(folder, *labels, "11", "--total", "10")[0] == 2
    code, _, err = agentloop(
        folder, "labels", "--version", "9.9.9-a-b", "--correct", "1", "--total", "1"
    )
    assert code == 64
    assert NEW in err


@pytest.mark.parametrize("text", ["", "[]", '{"model": "m"}', None])
def test_what_is_no_plan_is_refused(folder, text):
    if text is not None:
        (folder / "plan.json").write_text(text)
    code, out, err = agentloop(folder, "apply", "--plan", "plan.json", "--json")
    assert (code, json.loads(out)["exit_code"]) == (68, 68)
    assert "Traceback" not in err


def test_a_plan_that_was_changed_by_hand_is_checked(folder):
    plan = to_dict(plan_rollout(TrafficSplit("m", {OLD: 100.0}, OLD, 1), "m", NEW, RolloutSpec()))
    plan["stages"][2]["kind"] = "leap"
    (folder / "plan.json").write_text(json.dumps(plan))
    assert agentloop(folder, "apply", "--plan", "plan.json")[0] == 68


def test_before_any_rollout_each_verb_says_what_to_do(folder):
    for verb in ("status", "pause", "resume", "abort"):
        code, _, err = agentloop(folder, verb)
        assert (code, "there has been none" in err) == (67, True)
    assert agentloop(folder, "history", "--json")[1].strip() == "[]"
    assert agentloop(folder)[0] == 2


def test_without_a_model_and_a_spec_it_asks_for_one(tmp_path):
    code, _, err = agentloop(tmp_path, "status")
    assert (code, "name a model" in err) == (64, True)
