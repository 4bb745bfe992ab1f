"""Strategies, orders, leases and notices, on the fakes: everything but Ray and HAProxy is real."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agentloop.contracts import (
    DeploymentError,
    NoRollout,
    PlanOutdated,
    RolloutOvertaken,
    RolloutSpec,
    StaleEpoch,
)
from agentloop.serving.control.rollout_plan import plan_rollout
from agentloop.serving.control.store import MemoryControlStore, Order, Rollout, RolloutEvent
from agentloop.serving.edge.duties import ReturnToStable, all_on, due
from agentloop.serving.fakes import MemoryPlane
from agentloop.serving.rollout.blue_green import BlueGreenDeployment
from agentloop.serving.rollout.lease_keeper import LeaseKeeper
from agentloop.serving.rollout.log import RolloutLog
from agentloop.serving.rollout.notice import AlertmanagerNotices, Notice, give_notice
from agentloop.serving.rollout.orders import RolloutOrders, wish_of
from agentloop.serving.rollout.page import rollout_page
from agentloop.serving.rollout.split_writer import SplitWriter
from agentloop.serving.rollout.view import view_rollout


class Clock:
    """A clock that moves a little at each look, so that waits end."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        self.now += 0.01
        return self.now


class World:
    """One model with version 1 stable, version 2 to come, and a say at each event."""

    def __init__(self, store, make, first, second, clock):
        self.store, self.make, self.clock = store, make, clock
        self.first, self.second = first, second
        self.orders = RolloutOrders(store, clock)
        self.heard = {}

    def listen(self, event):
        action = self.heard.pop((event.kind, event.action), None)
        if action is not None:
            action()

    def splits(self):
        return self.store.written

    def deploy(self, plane=None, **rollout):
        return asyncio.run(self.make(plane, rollout).deploy_model(self.second))

    def actions(self, kind="done"):
        last = self.store.rollouts("tiny")[-1].deployment_id
        events = self.store.events("tiny")
        return [e.action for e in events if (e.kind, e.deployment_id) == (kind, last)]


class RecordingStore(MemoryControlStore):
    """Remembers every split that was ever in force."""

    def __init__(self):
        super().__init__()
        self.written = []

    def put_split(self, split):
        super().put_split(split)
        self.written.append(split)


@pytest.fixture
def world(loop_spec, registry, signer, load_report, make_version, tmp_path):
    ids, clock, store = map(str, itertools.count(1)), Clock(), RecordingStore()
    told = []

    def make(plane=None, rollout=None):
        settings = {"max_wait_seconds": 2, **(rollout or {})}
        changed = RolloutSpec(**{**loop_spec.rollout.model_dump(), **settings})
        return BlueGreenDeployment(
            loop_spec.model_copy(update={"rollout": changed}),
            home=Path(tmp_path),
            registry=registry,
            trusted_key=signer.public_key,
            load_report=load_report,
            store=store,
            plane=plane or MemoryPlane(store),
            announce=told.append,
            listen=lambda event: world.listen(event),  # noqa: PLW0108 - made below
            clock=clock,
            new_id=lambda: next(ids),
        )

    world = World(store, make, make_version(1), make_version(2), clock)
    world.told, world.plane = told, MemoryPlane(store)
    asyncio.run(make(world.plane).deploy_model(world.first))
    store.written.clear()
    return world


def shares(world):
    version = world.second.version
    given = [split.weights.get(version, 0.0) for split in world.splits()]
    return [share for share, _ in itertools.groupby(given)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, [0, 1, 5, 10, 25, 50, 100]),
        ({"strategy": "linear", "step_percent": 40}, [0, 40, 80, 100]),
        ({"strategy": "blue-green"}, [0, 100]),
    ],
)
def test_each_strategy_goes_through_its_shares(world, spec, expected):
    result = world.deploy(world.plane, **spec)
    assert (result.status, result.reasons[:1]) == ("completed", ("it is not inferior",))
    assert shares(world) == expected
    assert all(s.lease_until is not None for s in world.splits()[1:-1])
    assert world.store.split("tiny").lease_until is None


def test_promotion_is_earned_before_the_last_share(world):
    world.deploy(world.plane)
    events = {e.action: e for e in world.store.events("tiny") if e.kind == "done"}
    numbers = events["shift 50%"].detail["numbers"]
    assert numbers["log_e_not_inferior"] >= numbers["bound_not_inferior"]
    early = events["shift 1%"].detail["numbers"]
    assert early["log_e_not_inferior"] < early["bound_not_inferior"]


def test_a_shadow_answers_nobody_and_is_then_promoted(world):
    result = world.deploy(world.plane, strategy="shadow", max_disagreement=0.1)
    assert result.status == "completed", result.reasons
    shadows = [s for s in world.splits() if s.shadow is not None]
    assert {(s.shadow_percent, s.weights[world.second.version]) for s in shadows} == {(100, 0)}
    assert result.metrics["shadow_compared"] >= 50
    assert world.store.split("tiny").shadow is None


def test_a_shadow_that_disagrees_never_gets_traffic(world):
    plane = MemoryPlane(world.store, disagreements={world.second.version: 0.5})
    plane.running = world.plane.running
    result = world.deploy(plane, strategy="shadow", max_disagreement=0.1)
    assert result.status == "rolled_back"
    assert shares(world) == [0]
    assert world.store.split("tiny").shadow is None


def test_a_canary_may_be_shadowed_first(world):
    world.deploy(world.plane, shadow_percent=20, steps=(50, 100))
    assert world.actions()[:5] == ["provision", "probe", "shadow 20%", "shift 50%", "shift 100%"]


def test_an_ab_test_needs_sessions(world):
    held = world.deploy(world.plane, strategy="ab")
    assert held.status == "held"
    assert {s.by_session for s in world.splits() if s.lease_until} == {True}
    sent = threading.Event()

    def traffic():
        sent.set()
        while sent.is_set():
            world.plane.send("tiny", 20, sessions=True)

    sender = threading.Thread(target=traffic)
    sender.start()
    try:
        result = world.deploy(world.plane, strategy="ab", ab_percent=30, max_wait_seconds=20)
    finally:
        sent.clear()
        sender.join()
    assert result.status == "completed", result.reasons


# --- orders --------------------------------------------------------------------------------------


def test_an_abort_returns_to_stable_and_the_controller_says_so(world):
    world.heard["effect", "shift 10%"] = lambda: world.orders.abort("tiny", "ann")
    result = world.deploy(world.plane)
    assert (result.status, result.reasons) == ("aborted", ("aborted by ann",))
    assert world.store.split("tiny").weights == {world.first.version: 100, world.second.version: 0}
    assert world.store.rollouts("tiny")[-1].state == "aborted"
    assert [bake.version for bake in world.store.bakes()] == [world.second.version]
    assert max(shares(world)) == 10


@pytest.mark.parametrize("moment", [("intent", "provision"), ("done", "probe")])
def test_an_abort_before_the_first_share_stops_it_as_well(world, moment):
    world.heard[moment] = lambda: world.orders.abort("tiny")
    assert world.deploy(world.plane).status == "aborted"
    assert shares(world) == [0]


def test_a_pause_holds_the_weights_until_it_is_lifted(world):
    seen = []

    def pause():
        world.orders.pause("tiny", "ann")
        threading.Timer(0.4, resume).start()

    def resume():
        seen.append(world.store.split("tiny").weights[world.second.version])
        world.orders.resume("tiny")

    world.heard["effect", "shift 10%"] = pause
    result = world.deploy(world.plane, max_wait_seconds=0.5)
    assert (result.status, seen) == ("completed", [10])
    assert "paused" in world.actions()


def test_a_paused_version_that_fails_is_rolled_back(world):
    plane = MemoryPlane(world.store, {world.second.version: 0.5})
    plane.running = world.plane.running
    world.heard["effect", "shift 1%"] = lambda: world.orders.pause("tiny")
    assert world.deploy(plane).status == "rolled_back"


def test_orders_need_a_rollout_that_runs(world):
    for order in (world.orders.pause, world.orders.resume, world.orders.abort):
        with pytest.raises(NoRollout, match="is completed"):
            order("tiny")
        with pytest.raises(NoRollout, match="there has been none"):
            order("nobody")


def test_a_pause_is_refused_when_no_controller_would_hold_it(world):
    dead = Rollout("x", "tiny", world.second.version, "running", 0, 1, world.first.version)
    world.store.claim(dead, 0)
    with pytest.raises(NoRollout) as refused:
        world.orders.pause("tiny")
    assert refused.value.next_step == f"agentloop rollout apply tiny {world.second.version}"
    assert world.orders.abort("tiny").state == "aborted"


def test_what_is_stable_already_cannot_be_aborted(world):
    now = world.clock.now
    running = Rollout("x", "tiny", world.second.version, "running", now, now + 9)
    world.store.claim(running, now)
    world.store.put_split(all_on(world.store.split("tiny"), world.second.version))
    with pytest.raises(NoRollout) as refused:
        world.orders.abort("tiny")
    assert refused.value.next_step == "agentloop rollback tiny"


def test_an_abort_that_was_killed_half_way_is_finished_by_the_controller(world):
    def half():
        mine = world.store.rollouts("tiny")[-1]
        world.store.put_order(Order("tiny", mine.deployment_id, "abort", 0.0))

    world.heard["effect", "shift 25%"] = half
    assert world.deploy(world.plane).status == "aborted"
    assert world.store.split("tiny").weights[world.first.version] == 100
    assert world.store.rollouts("tiny")[-1].state == "aborted"


@pytest.mark.parametrize("moment", [("effect", "shift 10%"), ("done", "probe")])
def test_a_rollback_ends_a_rollout_under_way(world, moment):
    """Also before its first share: then the stable version stays, not the one before it."""
    backs, errors = [], []

    def back():
        try:
            backs.append(asyncio.run(world.make(world.plane).rollback("tiny")))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=back)
    world.heard[moment] = thread.start
    result = world.deploy(world.plane, step_seconds=0.3)
    thread.join()
    assert errors == []
    assert backs[0].model_version == world.first.version
    assert result.status in ("rolled_back", "aborted")
    assert world.store.split("tiny").weights[world.first.version] == 100


# --- two controllers, leases ---------------------------------------------------------------------


def test_a_second_controller_takes_the_say_away_from_the_first(world):
    """The second claims in the middle of the first; the first ends typed, writing nothing more."""
    results = []

    def second():
        deployment = world.make(world.plane)
        results.append(asyncio.run(deployment.deploy_model(world.second)))

    def take():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    world.heard["effect", "shift 10%"] = take
    with pytest.raises(RolloutOvertaken, match="another controller"):
        world.deploy(world.plane)
    assert [r.status for r in results] == ["completed"]
    assert world.store.split("tiny").stable == world.second.version
    assert len(world.store.rollouts("tiny")) == 2


def test_of_two_writers_in_a_race_only_the_newest_is_heard(world):
    """Whatever the order of their writes, weights never go back to what an older one wants."""
    store, version = world.store, world.second.version
    old, new = (SplitWriter(store, world.plane, "tiny") for _ in range(2))
    refused, accepted = [], []

    def write(writer, percent):
        for _ in range(50):
            try:
                writer.canary(version, percent, 1e9)
                accepted.append((percent, store.split("tiny").epoch))
            except StaleEpoch:
                refused.append(percent)

    new.take_over()
    threads = [threading.Thread(target=write, args=args) for args in ((old, 90.0), (new, 10.0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == [90.0] * 50
    assert {percent for percent, _ in accepted} == {10.0}


def test_traffic_lost_with_the_lease_is_won_again(world):
    def expire():
        split = world.store.split("tiny")
        duties = due([split], [], [], split.lease_until + 1)
        assert isinstance(duties[0], ReturnToStable)
        world.store.put_split(duties[0].split)

    world.heard["effect", "shift 10%"] = expire
    assert world.deploy(world.plane).status == "completed"
    assert shares(world) == [0, 1, 5, 10, 0, 1, 5, 10, 25, 50, 100]
    assert "lease lost: begun again" in world.actions()


def test_a_keeper_renews_and_tells_when_the_lease_is_lost():
    renewed, lost = threading.Event(), threading.Event()

    def renew(moving):
        if renewed.is_set():
            lost.set()
            raise StaleEpoch("m", 1, 2)
        assert moving
        renewed.set()

    with LeaseKeeper(renew, Clock(), every=0.01) as keeper:
        assert lost.wait(5)
        keeper._thread.join(5)
        with pytest.raises(StaleEpoch):
            keeper.moved()


def test_a_keeper_survives_a_store_that_is_away_for_a_moment():
    calls, again = [], threading.Event()

    def renew(moving):
        calls.append(moving)
        if len(calls) == 1:
            raise OSError("locked")
        again.set()

    with LeaseKeeper(renew, Clock(), every=0.01) as keeper:
        assert again.wait(5)
        keeper.moved()


def test_a_controller_that_hangs_is_no_longer_vouched_for():
    clock, told = Clock(), threading.Event()
    seen = []

    def renew(moving):
        seen.append(moving)
        if not moving:
            told.set()
        clock.now += 30

    with LeaseKeeper(renew, clock, every=0.01):
        assert told.wait(5)
    assert seen[0] is True


# --- plans, notices ------------------------------------------------------------------------------


def test_a_saved_plan_is_what_is_executed(world):
    spec = RolloutSpec(steps=(20, 100), step_seconds=0, max_wait_seconds=2)
    plan = plan_rollout(world.store.split("tiny"), "tiny", world.second.version, spec)
    result = asyncio.run(world.make(world.plane, {"steps": (3, 100)}).apply(plan))
    assert (result.status, shares(world)) == ("completed", [0, 20, 100])
    with pytest.raises(PlanOutdated):
        asyncio.run(world.make(world.plane).apply(replace(plan, version=world.first.version)))


def test_a_rollback_checks_health_and_tells_people(world):
    plane = MemoryPlane(world.store, {world.second.version: 0.5})
    plane.running = world.plane.running
    result = world.deploy(plane)
    notice = world.told[-1]
    assert (notice.status, notice.severity, notice.trouble) == ("rolled_back", "warning", "")
    assert notice.stable == world.first.version
    assert result.reasons[-1].endswith("it answers (told: Alertmanager)")
    assert "notice" in world.actions()


def test_a_stable_version_that_does_not_answer_is_a_page(world):
    plane = MemoryPlane(world.store, {world.second.version: 0.5})
    plane.running = world.plane.running
    world.heard["effect", "rollback"] = lambda: plane.running.pop(("tiny", world.first.version))
    result = world.deploy(plane)
    assert result.status == "rolled_back"
    assert world.told[-1].severity == "critical"
    assert "ready answers 503" in world.told[-1].trouble


def test_a_rollback_by_hand_is_told_too(world):
    world.deploy(world.plane)
    result = asyncio.run(world.make(world.plane).rollback("tiny"))
    assert (world.told[-1].version, world.told[-1].stable) == (
        world.second.version,
        world.first.version,
    )
    assert "told: Alertmanager" in result.reasons[-1]


def test_a_failed_start_is_told(world):
    plane = MemoryPlane(world.store, broken=[world.second.version])
    plane.running = world.plane.running
    with pytest.raises(DeploymentError):
        world.deploy(plane)
    assert world.told[-1].status == "failed"


def test_alertmanager_gets_an_alert_it_can_route():
    taken = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        notice = Notice(0.0, "m", "2", "1", "rolled_back", ("it failed",))
        AlertmanagerNotices(f"http://127.0.0.1:{server.server_port}/")(notice)
        thread.join()
    path, (alert,) = taken[0]
    assert path == "/api/v2/alerts"
    assert alert["labels"] == {
        "alertname": "RolloutRolledBack",
        "severity": "warning",
        "model": "m",
        "model_version": "2",
    }
    assert alert["startsAt"].startswith("1970-01-01T00:00:00")
    assert alert["annotations"]["description"] == "it failed"


def test_a_receiver_that_is_down_changes_nothing(world):
    def refuse(notice):
        raise ConnectionRefusedError("refused")

    deployment = world.make(MemoryPlane(world.store), {"probe": False, "max_wait_seconds": 0.1})
    deployment._kit = replace(deployment._kit, announce=refuse)
    deployment._plane.running = world.plane.running
    result = asyncio.run(deployment.deploy_model(world.second))
    assert result.status == "held"
    assert "nobody: refused" in result.reasons[-1]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://[::1", "http://127.0.0.1:1"])
def test_a_receiver_that_cannot_be_told_is_said_so(world, url):
    rollout = world.store.rollouts("tiny")[-1]
    log = RolloutLog(world.store, rollout, world.clock)
    notice = Notice(0.0, "tiny", "2", "1", "rolled_back", ("it failed",))
    assert "told: nobody: " in give_notice(log, AlertmanagerNotices(url), notice)
    assert world.store.events("tiny")[-1].action == "notice"


def test_a_wish_belongs_to_one_rollout(world):
    rollout = Rollout("x", "tiny", "2", "running", 0, 1)
    assert wish_of(world.store, rollout) == "go"
    world.store.put_order(Order("tiny", "other", "abort", 0.0))
    assert wish_of(world.store, rollout) == "go"
    world.store.put_order(Order("tiny", "x", "pause", 0.0))
    assert wish_of(world.store, rollout) == "pause"


# --- what is shown -------------------------------------------------------------------------------


def test_the_view_follows_a_rollout_to_the_retirement_of_the_old_version(world):
    world.deploy(world.plane)
    view = view_rollout(world.store, "tiny", world.clock.now)
    states = {stage.name: stage.state for stage in view.stages}
    assert (view.headline, states["promote"], states["retire"]) == ("completed", "done", "current")
    assert [share for _, share in view.shares] == [1, 5, 10, 25, 50, 100, 100]
    assert view.numbers["log_e_not_inferior"] >= view.numbers["bound_not_inferior"]
    retired = RolloutEvent(
        world.clock.now + 60, "tiny", "", "done", "retired", {"version": world.first.version}
    )
    world.store.record(retired)
    view = view_rollout(world.store, "tiny", world.clock.now + 99)
    assert {stage.state for stage in view.stages} == {"done"}


def test_the_view_shows_what_stopped_a_rollout(world):
    plane = MemoryPlane(world.store, {world.second.version: 0.5})
    plane.running = world.plane.running
    world.deploy(plane)
    view = view_rollout(world.store, "tiny", world.clock.now)
    failed = [stage for stage in view.stages if stage.state == "failed"]
    assert [stage.verdict for stage in failed] == ["rollback"]
    assert failed[0].numbers["canary_errors"] > 0
    assert view.shares[-1][1] == 0
    page = rollout_page(view, world.clock.now)
    assert "✗" in page
    assert 'now 0%"' in page


def test_the_page_shows_names_as_text_not_as_markup(world):
    view = replace(view_rollout(world.store, "tiny", 0.0), reasons=("<script>alert(1)</script>",))
    assert "<script>" not in rollout_page(view, 0.0)


def test_a_rollback_that_went_through_no_stages_draws_no_course(world):
    world.deploy(world.plane)
    view = view_rollout(world.store, "tiny", world.clock.now)
    assert "<svg" in rollout_page(view, world.clock.now)
    assert "<svg" not in rollout_page(replace(view, stages=()), world.clock.now)


def test_there_is_no_view_before_the_first_rollout(world):
    with pytest.raises(NoRollout, match="there has been none"):
        view_rollout(world.store, "nobody", 0.0)


def test_a_listener_that_fails_decides_nothing(world):
    def fail():
        raise BrokenPipeError

    world.heard["effect", "shift 10%"] = fail
    assert world.deploy(world.plane).status == "completed"
