"""A plane with keys, TLS and an access log on a real cluster: rollouts work as they do without."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import ssl
import time
from dataclasses import replace

import pytest

from agentloop.contracts import ServingSpec
from agentloop.lifecycle import MemoryRegistry, open_signer
from agentloop.serving import control_store, inside_url, read_endpoint, read_split
from agentloop.serving.edge.api_keys import create_key
from agentloop.serving.edge.sqlite_key_store import KEYS_FILE, SqliteKeyStore

pytestmark = pytest.mark.ray
INFER = "/v2/models/tiny/infer"
BODY = json.dumps(
    {
        "inputs": [
            {"name": "size", "datatype": "FP64", "shape": [1], "data": [10.5]},
            {"name": "age", "datatype": "INT64", "shape": [1], "data": [30]},
            {"name": "colour", "datatype": "BYTES", "shape": [1], "data": ["blue"]},
        ]
    }
).encode()


class Guarded:
    """Two versions, the first one serving."""

    def __init__(self, home, kit, certificates) -> None:
        from agentloop.serving import BlueGreenDeployment, start_serving_plane

        tls = {
            name: str(certificates / f"first.{end}")
            for name, end in (("certificate", "crt"), ("key", "key"))
        }
        serving = ServingSpec.model_validate(
            {"port": 0, "keys": True, "tls": tls, "access_log": True}
        )
        self.home, self.authority = home, tls["certificate"]
        self.spec = kit.spec().model_copy(update={"serving": serving})
        start_serving_plane(home, serving)
        registry, signer = MemoryRegistry(), open_signer(home.parent / "keys")
        self.versions = [kit.register(home.parent / "b", registry, n) for n in (1, 2)]
        self.store = control_store(home)
        self.keys = SqliteKeyStore(home / KEYS_FILE)
        self.deployment = BlueGreenDeployment(
            self.spec,
            home=home,
            registry=registry,
            trusted_key=signer.public_key,
            load_report=kit.approve_all(signer),
        )
        self.results = [asyncio.run(self.deployment.deploy_model(v)) for v in self.versions]

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=self.authority)
        port = read_endpoint(self.home).port
        return http.client.HTTPSConnection("localhost", port, timeout=10, context=context)

    def ask(self, headers=None, connection=None):
        own = connection or self.connect()
        own.request("POST", INFER, BODY, headers or {})
        answer = own.getresponse()
        answer.read()
        if answer.getheader("connection") == "close" or connection is None:
            own.close()
        return answer.status, answer.getheader("x-model-version")


@pytest.fixture(scope="module")
def guarded(kit, certificates, cluster):
    from agentloop.serving import stop_serving_plane

    try:
        yield Guarded(cluster.home, kit, certificates)
    finally:
        stop_serving_plane(cluster.home)


@pytest.fixture(scope="module")
def token(guarded):
    made = create_key(guarded.keys, "client", time.time())[1]
    deadline = time.monotonic() + 2
    while guarded.ask({"x-api-key": made})[0] != 200:
        assert time.monotonic() < deadline
    return {"x-api-key": made}


def test_versions_roll_out_behind_keys_and_tls(guarded):
    assert [result.status for result in guarded.results] == ["completed", "completed"]
    assert read_endpoint(guarded.home).url.startswith("https://")
    assert inside_url(guarded.home).startswith("http://127.0.0.1:")


def test_only_a_key_gets_an_answer(guarded, token):
    assert guarded.ask()[0] == 401
    assert guarded.ask(token) == (200, guarded.versions[1].version)


def test_what_the_edges_caps_let_through_the_replica_takes(guarded, token):
    assert guarded.ask({**token, "x-big": "a" * 11_500})[0] == 200
    assert guarded.ask({**token, **{f"x-{n}": "a" for n in range(70)}})[0] == 200


def test_the_log_names_the_key(guarded, token):
    guarded.ask({**token, "x-request-id": "mine"})
    path, deadline = guarded.home / "logs" / "access.jsonl", time.monotonic() + 5
    found: list[dict] = []
    while not found:
        assert time.monotonic() < deadline
        lines = path.read_text().splitlines() if path.exists() else []
        found = [line for line in map(json.loads, lines) if line["request_id"] == "mine"]
    assert (found[0]["key"], found[0]["status"]) == ("client", 200)
    assert found[0]["version"] == guarded.versions[1].version


def test_a_weight_reaches_traffic_through_the_actor_in_milliseconds(guarded, token):
    first, second = (mv.version for mv in guarded.versions)
    connection, waits = guarded.connect(), []
    for target in (first, second) * 10:
        split = read_split(guarded.home, "tiny")
        weights = {first: 0.0, second: 0.0, target: 100.0}
        start = time.perf_counter()
        guarded.store.put_split(
            replace(split, weights=weights, stable=target, epoch=split.epoch + 1)
        )
        guarded.deployment._plane.reconcile()
        while guarded.ask(token, connection)[1] != target:
            pass
        waits.append(time.perf_counter() - start)
    waits.sort()
    print(f"weight visible after {waits[10] * 1000:.1f} ms (median), {waits[-1] * 1000:.1f} ms")
    assert waits[10] < 0.05


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take priority back")
def test_the_edge_has_the_priority_that_ray_takes_from_its_workers(guarded):
    import ray

    from agentloop.serving.edge.ray_edge import find_edge_actor

    for pid in ray.get(find_edge_actor().pids.remote()):
        assert os.getpriority(os.PRIO_PROCESS, pid) == 0


def test_no_request_fails_while_the_edges_actor_is_killed_and_starts_again(guarded, token):
    import ray

    from agentloop.serving.edge.ray_edge import find_edge_actor

    actor, haproxy = ray.get(find_edge_actor().pids.remote())
    before = sum(t.requests for t in guarded.deployment._plane.traffic("tiny"))
    os.kill(actor, signal.SIGKILL)
    connection, count, again = guarded.connect(), 0, None
    deadline = time.monotonic() + 20
    while again is None or count < 200:
        assert guarded.ask(token, connection)[0] == 200
        count += 1
        if count % 20 == 0 and again is None:
            assert time.monotonic() < deadline
            try:
                again = ray.get(find_edge_actor().pids.remote(), timeout=0.2)
            except Exception:
                again = None
    assert again[0] != actor
    assert again[1] == haproxy  # the same one: not even a reload
    after = sum(t.requests for t in guarded.deployment._plane.traffic("tiny"))
    assert after >= before + count


def test_a_revoked_key_is_refused_within_a_second(guarded, token):
    guarded.keys.revoke("client", time.time())
    start = time.monotonic()
    while guarded.ask(token)[0] == 200:
        assert time.monotonic() - start < 1
    assert guarded.ask(token)[0] == 401
