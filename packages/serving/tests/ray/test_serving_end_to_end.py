"""Two real versions behind the real edge, on one Ray cluster for the whole module."""

from __future__ import annotations

import asyncio
import collections
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agentloop.contracts import PortInUse, RequestRejected, StaleEpoch
from agentloop.lifecycle import MemoryRegistry, open_signer
from agentloop.serving import Client, control_store, read_endpoint, read_split, run_dir

pytestmark = pytest.mark.ray

ROW = {"size": 10.5, "age": 30, "colour": "blue"}
BODY = json.dumps(
    {
        "inputs": [
            {"name": "size", "datatype": "FP64", "shape": [1], "data": [10.5]},
            {"name": "age", "datatype": "INT64", "shape": [1, 1], "data": [[30]]},
            {"name": "colour", "datatype": "BYTES", "shape": [1], "data": ["blue"]},
        ]
    }
).encode()
INFER = "/v2/models/tiny/infer"


class World:
    """The cluster, the plane and its deployment."""

    def __init__(self, home, spec, registry, signer, versions, load_report):
        from agentloop.serving import BlueGreenDeployment

        self.home, self.spec, self.registry, self.versions = home, spec, registry, versions
        self.store = control_store(home)
        self.blue_green = BlueGreenDeployment(
            spec,
            home=home,
            registry=registry,
            trusted_key=signer.public_key,
            load_report=load_report,
        )
        self.times = {}
        self.result = None

    def timed(self, name, action):
        start = time.perf_counter()
        result = action()
        self.times[name] = time.perf_counter() - start
        return result

    def wait(self, condition, seconds=10):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    def answers(self):
        try:
            return self.request(BODY)[0] == 200
        except OSError:
            return False

    def edge_pid(self):
        import ray

        from agentloop.serving.edge.ray_edge import find_edge_actor

        try:
            return ray.get(find_edge_actor().pids.remote(), timeout=2)[0]
        except Exception:
            return None

    @property
    def address(self):
        return read_endpoint(self.home)

    def request(self, body, path=INFER, method="POST", headers=None):
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=10)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content

    def count(self, requests, headers=None):
        """Answers by (status, version) over one kept-alive connection."""
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=10)
        seen = collections.Counter()
        for _ in range(requests):
            connection.request("POST", INFER, BODY, headers or {})
            answer = connection.getresponse()
            answer.read()
            seen[answer.status, answer.getheader("x-model-version")] += 1
        connection.close()
        return seen

    def split(self, percent):
        """Set the canary's share directly, as a controller would."""
        first, second = (mv.version for mv in self.versions[:2])
        current = self.store.split("tiny")
        weights = {first: 100.0 - percent, second: float(percent)}
        self.store.put_split(
            replace(current, weights=weights, epoch=current.epoch + 1, lease_until=None)
        )
        self.blue_green._plane.reconcile()


@pytest.fixture(scope="module")
def world(kit, cluster):
    base, home, spec = cluster.base, cluster.home, kit.spec()
    from agentloop.serving import start_serving_plane, stop_serving_plane

    registry, signer = MemoryRegistry(), open_signer(base / "keys")
    versions = [kit.register(base / "b", registry, number) for number in (1, 2)]
    versions.append(kit.register(base / "b", registry, 3, broken=True))
    world = World(home, spec, registry, signer, versions, kit.approve_all(signer))
    try:
        world.timed("serve and edge", lambda: start_serving_plane(home, spec.serving))
        yield world
    finally:
        print("\n", {name: round(seconds, 2) for name, seconds in world.times.items()})
        stop_serving_plane(home)


@pytest.fixture(scope="module")
def served(world):
    """Version 1 at 100%."""
    first = world.versions[0]
    world.timed("first app staged", lambda: asyncio.run(world.blue_green.stage(first)))
    world.timed("first deployed", lambda: asyncio.run(world.blue_green.deploy_model(first)))
    return world


@pytest.fixture(scope="module")
def rolled_out(served):
    """Version 2 at 100%, version 1 warm."""
    second = served.versions[1]
    served.timed("second app staged", lambda: asyncio.run(served.blue_green.stage(second)))
    served.result = served.timed(
        "rollout", lambda: asyncio.run(served.blue_green.deploy_model(second))
    )
    return served


def test_a_first_version_answers_with_its_name(served):
    status, headers, content = served.request(BODY, headers={"x-request-id": "mine-1"})
    assert status == 200
    assert headers["x-model-version"] == served.versions[0].version
    assert headers["x-request-id"] == "mine-1"
    outputs = {output["name"]: output for output in json.loads(content)["outputs"]}
    assert outputs["label"]["data"][0] in ("a", "b")
    assert sum(outputs["probabilities"]["data"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/tiny", 200),
        ("/v2/models/tiny/ready", 200),
        ("/v2/models/tiny/openapi.json", 200),
        ("/v2/models/nobody", 404),
        ("/elsewhere", 404),
    ],
)
def test_the_protocols_documents_answer(served, path, expected):
    status, headers, content = served.request(None, path, "GET")
    assert status == expected
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"]
    json.loads(content)


def test_raw_tensors_a_trace_and_the_page_pass_the_edge(served):
    raw = {"datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    colour = json.loads(BODY)["inputs"][2]
    inputs = [{"name": "size", **raw}, {"name": "age", **raw}, colour]
    text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {
        "Inference-Header-Content-Length": str(len(text)),
        "content-type": "application/octet-stream",
        "traceparent": parent,
    }
    status, told, content = served.request(text + struct.pack("<ff", 10.5, 30), headers=headers)
    assert status == 200, content
    head = json.loads(content[: int(told["inference-header-content-length"])])
    sizes = [output["parameters"]["binary_data_size"] for output in head["outputs"]]
    assert sizes == [5, 8]
    assert told["traceresponse"].startswith(f"00-{'a' * 32}-")
    status, told, page = served.request(None, "/v2/models/tiny/docs", "GET")
    assert (status, told["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"colour" in page


def test_mlflow_bodies_answer_too(served):
    body = json.dumps({"dataframe_records": [ROW, ROW]}).encode()
    for path in ("/invocations", "/models/tiny/invocations"):
        status, _, content = served.request(body, path)
        assert status == 200
        assert len(json.loads(content)["predictions"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"inputs": [NaN]}',
        b'{"inputs": [{"name": "size", "shape": [1], "datatype": "FP64", "data": [1e999]}]}',
        b'{"inputs": "\\ud800"}',
        b"[" * 100_000,
        b'{"inputs": [], "inputs": []}',
        BODY.replace(b"[10.5]", b'["ten"]'),
        BODY.replace(b'"age"', b'"rage"'),
        BODY.replace(b"[1, 1]", b"[7, 1]"),
        b'{"inputs": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: body[:20].decode(errors="replace"),
)
def test_bad_bodies_get_a_short_4xx(served, body):
    status, _, content = served.request(body)
    assert 400 <= status < 500
    assert len(content) < 4096
    assert "error" in json.loads(content)


def test_client_predicts_and_rejects(served):
    with Client(served.address.url) as client:
        prediction = client.predict("tiny", [ROW, {**ROW, "colour": None}])
        assert len(prediction.labels) == len(prediction.probabilities) == 2
        assert prediction.model_version == served.versions[0].version
        with pytest.raises(RequestRejected):
            client.predict("tiny", {"size": 1.0})


def test_a_body_over_the_cap_is_refused_before_it_is_sent(served):
    with socket.create_connection((served.address.host, served.address.port), 5) as connection:
        connection.sendall(
            f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\nx".encode()
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_everything_of_serving_listens_on_loopback_only(served):
    lines = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    folder = str(run_dir(served.home))
    local = []
    for line in lines.splitlines():
        pid = re.search(r"pid=(\d+)", line)
        command = Path(f"/proc/{pid[1]}/cmdline").read_text() if pid else ""
        if folder in command and "haproxy" in command:
            local.append(line.split()[3])
    assert len(local) >= 4  # the edge, and Serve's proxy with its metrics and statistics
    assert all(address.startswith("127.0.0.1:") for address in local)


def test_a_taken_port_is_refused_before_anything_starts(served):
    from agentloop.serving.edge.haproxy_process import check_port_free

    with pytest.raises(PortInUse):
        check_port_free("127.0.0.1", served.address.port)


def test_the_next_version_rolls_out_in_steps(rolled_out):
    result = rolled_out.result
    assert result.status == "completed", result
    assert result.metrics["canary_requests"] >= 150
    assert result.metrics["probe_failures"] == 0
    assert rolled_out.count(50) == {(200, rolled_out.versions[1].version): 50}


def test_traffic_follows_the_weights(rolled_out):
    first, second = (mv.version for mv in rolled_out.versions[:2])
    for percent in (10, 50):
        rolled_out.split(percent)
        seen = rolled_out.count(1000)
        assert seen[200, first] + seen[200, second] == 1000
        bound = 3.29 * (1000 * percent / 100 * (1 - percent / 100)) ** 0.5
        assert abs(seen[200, second] - 10 * percent) <= bound
    sticky = rolled_out.count(50, {"x-session-id": "someone"})
    assert len(sticky) == 1
    rolled_out.split(100)


def test_each_version_has_a_private_route_at_any_weight(rolled_out):
    for mv in rolled_out.versions[:2]:
        _, headers, _ = rolled_out.request(BODY, f"/_versions/tiny/{mv.version}{INFER}")
        assert headers["x-model-version"] == mv.version


def test_a_stale_epoch_is_refused(rolled_out):
    current = read_split(rolled_out.home, "tiny")
    with pytest.raises(StaleEpoch):
        rolled_out.store.put_split(replace(current, epoch=current.epoch - 1))


def test_rollback_is_quick_and_checked(rolled_out):
    first, second = (mv.version for mv in rolled_out.versions[:2])
    rolled_out.store.put_split(
        replace(
            read_split(rolled_out.home, "tiny"),
            weights={first: 0.0, second: 100.0},
            stable=second,
            epoch=read_split(rolled_out.home, "tiny").epoch + 1,
        )
    )
    result = rolled_out.timed(
        "rollback", lambda: asyncio.run(rolled_out.blue_green.rollback("tiny"))
    )
    assert result.model_version == first
    assert rolled_out.times["rollback"] < 1
    assert rolled_out.count(20) == {(200, first): 20}


def test_a_failing_canary_is_rescued_and_rolled_back(rolled_out):
    broken = rolled_out.versions[2]
    result = rolled_out.timed(
        "failing canary", lambda: asyncio.run(rolled_out.blue_green.deploy_model(broken))
    )
    assert result.status == "rolled_back", result
    assert result.metrics["canary_errors"] > 0
    assert result.metrics["probe_failures"] == 0


def test_a_lease_that_runs_out_returns_traffic_to_stable(rolled_out):
    first, second = (mv.version for mv in rolled_out.versions[:2])
    current = read_split(rolled_out.home, "tiny")
    rolled_out.store.put_split(
        replace(
            current,
            weights={first: 50.0, second: 50.0},
            epoch=current.epoch + 1,
            lease_until=time.time() + 0.3,
        )
    )
    rolled_out.wait(lambda: read_split(rolled_out.home, "tiny").lease_until is None)
    assert read_split(rolled_out.home, "tiny").weights[first] == 100
    rolled_out.blue_green._plane.reconcile()
    assert rolled_out.count(20) == {(200, first): 20}


def test_a_killed_haproxy_comes_back(rolled_out):
    import ray

    from agentloop.serving.edge.ray_edge import find_edge_actor

    edge = find_edge_actor()
    _, pid = ray.get(edge.pids.remote())
    os.kill(pid, signal.SIGKILL)
    rolled_out.timed("haproxy back", lambda: rolled_out.wait(rolled_out.answers))
    assert ray.get(edge.pids.remote())[1] != pid


def test_traffic_goes_on_while_the_edge_actor_is_killed(rolled_out):
    import ray

    from agentloop.serving.edge.ray_edge import find_edge_actor

    actor_pid, _ = ray.get(find_edge_actor().pids.remote())
    os.kill(actor_pid, signal.SIGKILL)
    assert rolled_out.count(200)[200, rolled_out.versions[0].version] == 200
    rolled_out.wait(lambda: rolled_out.edge_pid() not in (None, actor_pid))
    assert rolled_out.answers()
