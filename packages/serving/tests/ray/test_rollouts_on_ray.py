"""Rollouts by controllers in processes of their own, on one real cluster behind the real edge."""

from __future__ import annotations

import collections
import http.client
import json
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agentloop.lifecycle import MemoryRegistry, open_signer
from agentloop.serving import RolloutOrders, control_store, read_endpoint, view_rollout

pytestmark = pytest.mark.ray

SCRIPT = Path(__file__).parent.parent / "helpers" / "ray_controller.py"
INFER = "/v2/models/tiny/infer"
# Never decides by itself: there is no probe, and more requests are asked for than come.
WAITING = {"probe": False, "min_requests": 100_000, "max_wait_seconds": 120, "steps": [50, 100]}


def body(colour):
    inputs = [
        {"name": "size", "datatype": "FP64", "shape": [1], "data": [10.5]},
        {"name": "age", "datatype": "FP64", "shape": [1], "data": [30.0]},
        {"name": "colour", "datatype": "BYTES", "shape": [1], "data": [colour]},
    ]
    return json.dumps({"inputs": inputs}).encode()


class Clients:
    """About 50 requests a second, half of them with a red row; counts what they see."""

    def __init__(self, address, sessions=0):
        self._address, self._ended = address, threading.Event()
        self._sessions = sessions
        self.by_session = collections.defaultdict(list)
        self.seen = collections.Counter()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()

    @property
    def failed(self):
        return sum(n for (status, _), n in self.seen.items() if status != 200)

    def _run(self):
        connection = http.client.HTTPConnection(self._address.host, self._address.port, timeout=10)
        bodies = [body("blue"), body("red")]
        # In turn, they would keep in step with the edge, which deals in turn as well.
        rows = random.Random(7)
        while not self._ended.wait(0.018):
            session = str(rows.randrange(self._sessions)) if self._sessions else ""
            headers = {"x-session-id": session} if session else {}
            connection.request("POST", INFER, rows.choice(bodies), headers)
            answer = connection.getresponse()
            answer.read()
            version = answer.getheader("x-model-version")
            self.seen[answer.status, version] += 1
            history = self.by_session[session]
            if history[-1:] != [version]:
                history.append(version)
        connection.close()


class World:
    def __init__(self, base, versions):
        self.base, self.home = base, base / "home"
        self.store = control_store(self.home)
        self.versions = versions

    def controller(self, version, **settings):
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.base), version, json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deploy(self, version, **settings):
        return self.result(self.controller(version, **settings))

    def result(self, controller):
        out, err = controller.communicate(timeout=120)
        assert controller.returncode == 0, err[-3000:]
        return json.loads(out.splitlines()[-1])

    def share(self, version):
        split = self.store.split("tiny")
        return split.weights.get(version, 0.0) if split else 0.0

    def clients(self, sessions=0):
        return Clients(read_endpoint(self.home), sessions)

    def until(self, condition, seconds):
        """Seconds until ``condition`` holds."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds, "it did not happen in time"
            time.sleep(0.01)
        return time.monotonic() - start


@pytest.fixture(scope="module")
def world(kit, cluster):
    from agentloop.serving import start_serving_plane, stop_serving_plane

    base = cluster.base
    registry, signer, spec = MemoryRegistry(), open_signer(base / "keys"), kit.spec()
    versions = [kit.register(base / "b", registry, number) for number in (1, 2)]
    versions.append(kit.register(base / "b", registry, 3, broken=True))
    load = kit.approve_all(signer)
    setup = {
        "address": cluster.address,
        "spec": spec.model_dump(mode="json"),
        "registry": (registry._versions, registry._keys, registry._aliases),
        "trusted_key": signer.public_key,
        "reports": {mv.version: load(mv) for mv in versions},
    }
    (base / "setup.pickle").write_bytes(pickle.dumps(setup))
    world = World(base, [mv.version for mv in versions])
    try:
        start_serving_plane(cluster.home, spec.serving)
        assert world.deploy(world.versions[0])["status"] == "completed"
        yield world
    finally:
        stop_serving_plane(cluster.home)


def test_a_controller_killed_at_half_costs_no_answer_and_its_lease_ends(world):
    first, second = world.versions[:2]
    with world.clients() as clients:
        controller = world.controller(second, **WAITING)
        world.until(lambda: world.share(second) == 50, 40)
        time.sleep(1.0)  # under load for a while
        controller.send_signal(signal.SIGKILL)
        controller.communicate()
        took = world.until(lambda: world.share(first) == 100, 15)
        world.until(lambda: world.store.split("tiny").lease_until is None, 1)
        time.sleep(0.3)
        before = clients.seen[200, second]
        time.sleep(0.5)
        assert clients.seen[200, second] == before > 0
    print(f"\nstable again {took:.1f} s after the controller's death")
    assert took <= 10
    assert clients.failed == 0


def test_the_next_controller_goes_on_with_the_same_rollout(world):
    second = world.versions[1]
    known = world.store.rollouts("tiny")[-1]
    assert (known.version, known.state) == (second, "running")
    with world.clients() as clients:
        result = world.deploy(second)  # all settings as they are by default
    assert (result["status"], result["deployment_id"]) == ("completed", known.deployment_id)
    print(f"\na default rollout took {result['metrics']['seconds']:.1f} s: {result['metrics']}")
    assert result["metrics"]["seconds"] <= 10
    assert clients.failed == 0
    view = view_rollout(world.store, "tiny", time.time())
    verdicts = [s.verdict for s in view.stages if s.name.startswith("shift")]
    assert verdicts == ["promote"] * 6


@pytest.mark.parametrize("strategy", ["canary", "blue-green"])
def test_a_version_that_fails_half_its_calls_is_rolled_back_unseen(world, strategy):
    """Also where it got everything at once: stable rescues until the promotion."""
    second, broken = world.versions[1:]
    with world.clients() as clients:
        result = world.deploy(broken, strategy=strategy, probe=False, steps=[50, 100])
    assert result["status"] == "rolled_back", result
    share = {"canary": "shift 50%", "blue-green": "shift 100%"}[strategy]
    events = world.store.events("tiny")
    gave = next(e.at for e in reversed(events) if (e.action, e.kind) == (share, "effect"))
    back = next(e.at for e in reversed(events) if e.action == "rollback" and e.kind == "effect")
    print(f"\nrolled back {back - gave:.2f} s after it got traffic: {result['metrics']}")
    assert back - gave <= 5
    assert world.share(second) == 100
    assert clients.failed == 0
    assert any("it answers" in reason for reason in result["reasons"])


def test_an_abort_from_another_process_is_immediate(world):
    first, second = world.versions[:2]
    with world.clients() as clients:
        controller = world.controller(first, **WAITING)
        world.until(lambda: world.share(first) == 50, 40)
        time.sleep(0.5)
        RolloutOrders(world.store, time.time).abort("tiny", "ann")
        assert world.share(second) == 100
        time.sleep(0.4)  # a tick of the edge
        before = clients.seen[200, first]
        time.sleep(0.5)
        assert clients.seen[200, first] == before > 0
    result = world.result(controller)
    assert (result["status"], result["reasons"]) == ("aborted", ["aborted by ann"])
    assert clients.failed == 0


def test_a_shadow_gets_copies_and_is_then_promoted(world):
    first, second = world.versions[:2]
    assert world.share(second) == 100
    with world.clients() as clients:
        result = world.deploy(first, strategy="shadow", max_wait_seconds=60)
    print(f"\nshadowed, then promoted: {result['metrics']}")
    assert result["status"] == "completed", result
    assert result["metrics"]["shadow_compared"] >= 50
    assert clients.failed == 0
    assert world.share(first) == 100


def test_an_ab_test_splits_sessions_and_leaves_others_alone(world):
    old, new = world.versions[:2] if world.share(world.versions[0]) else world.versions[1::-1]
    with world.clients(sessions=40) as people, world.clients() as others:
        controller = world.controller(new, strategy="ab", max_wait_seconds=60)
        world.until(lambda: world.share(new) == 50, 40)
        time.sleep(1)
        by_session = {session: list(seen) for session, seen in people.by_session.items()}
        assert others.seen[200, new] == 0
        result = world.result(controller)
    assert result["status"] == "completed", result
    chosen = [session for session, seen in by_session.items() if new in seen]
    assert 5 <= len(chosen) <= 35
    # No session ever comes back from the new version to the old one.
    assert all(seen in ([old], [new], [old, new]) for seen in people.by_session.values())
    assert people.failed == others.failed == 0
