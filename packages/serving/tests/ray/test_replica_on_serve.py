"""Real replicas on Ray Serve, behind Serve's own proxy: what is counted, drained and scaled."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from agentloop.contracts.spec import AutoscaleSpec
from agentloop.contracts.spec_serving import BatchSpec
from agentloop.lifecycle import MemoryRegistry

pytestmark = pytest.mark.ray

INFER = "/v2/models/tiny/infer"
SECONDS = 60


def body(rows):
    tensors = [
        {"name": "size", "datatype": "FP64", "shape": [rows], "data": [10.5] * rows},
        {"name": "age", "datatype": "INT64", "shape": [rows], "data": [30] * rows},
        {"name": "colour", "datatype": "BYTES", "shape": [rows], "data": ["blue"] * rows},
    ]
    return json.dumps({"inputs": tensors}).encode()


class Served:
    """A cluster with Serve's HTTP proxy, and versions of the tiny model as applications."""

    def __init__(self, base, kit):
        self.base = base
        self.version = kit.register(base / "b", MemoryRegistry(), 1)

    def start(self, name, **settings):
        from ray import serve

        from agentloop.serving.replica.serve_replica import ReplicaSettings, build_application

        mv = self.version
        made = ReplicaSettings(mv.artifact_uri, mv.digest, mv.version, **settings)
        serve.run(build_application(made, None), name=name, route_prefix=f"/{name}")
        self.until(lambda: self.is_ready(name))

    def is_ready(self, name):
        try:
            return self.ask(name, None, "/v2/health/ready")[0] == 200
        except OSError:  # the application runs before its proxy listens
            return False

    def ask(self, name, content, path=INFER, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        method = "GET" if content is None else "POST"
        connection.request(method, f"/{name}{path}", content, headers or {})
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), found

    def until(self, condition):
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def served(kit, cluster):
    from ray import serve

    from agentloop.serving.edge.haproxy_process import free_port

    try:
        world = Served(cluster.base, kit)
        world.port = free_port()
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": "127.0.0.1", "port": world.port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        yield world
    finally:
        serve.shutdown()


def test_the_model_answers_with_no_more_of_serve_than_its_port(served):
    served.start("plain")
    status, headers, content = served.ask("plain", body(1), headers={"x-request-id": "mine"})
    names = [name.lower() for name, _ in headers]
    assert status == 200
    assert dict(headers)["x-request-id"] == "mine"
    # Serve's own way adds a second id, and the server its name.
    assert names.count("x-request-id") == 1
    assert "server" not in names
    assert json.loads(content)["outputs"][0]["data"][0] in ("a", "b")
    assert served.ask("plain", None, "/nowhere")[0] == 404
    assert served.ask("plain", b"{", INFER)[0] == 400
    logs = [p.read_text(errors="replace") for p in (served.base / "r").rglob("replica_plain*.log")]
    assert not any("Serve keeps its own way" in text for text in logs)


def readers():
    """Processes that read large bodies for some replica, by the replica's process."""
    found = {}
    for process in psutil.process_iter(["cmdline", "ppid"]):
        if "agentloop.serving.replica.body_process" in (process.info["cmdline"] or ()):
            found[process.info["ppid"]] = process
    return found


def test_a_large_body_is_read_beside_the_replica_and_a_reader_that_dies_is_replaced(served):
    from ray import serve

    before = set(readers())
    served.start("large")
    assert served.ask("large", body(1))[0] == 200
    assert set(readers()) == before  # only who needs one has one
    large = body(20_000)
    assert served.ask("large", large)[0] == 200
    (replica,) = set(readers()) - before
    first = readers()[replica]
    first.kill()
    status, _, content = served.ask("large", large)
    assert (status, len(json.loads(content)["outputs"][0]["data"])) == (200, 20_000)
    assert readers()[replica].pid != first.pid
    status, _, content = served.ask("large", large.replace(b"10.5", b"NaN", 1))
    assert status == 400
    assert "not valid JSON" in json.loads(content)["error"]
    serve.delete("large", _blocking=False)
    served.until(lambda: replica not in readers())


def test_no_more_of_an_endless_body_is_taken_once_it_is_refused(served):
    served.start("endless", max_body_bytes=200_000)
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        head = f"POST /endless{INFER} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 500_000_000:
                connection.sendall(b"10000\r\n" + b"1" * 65536 + b"\r\n")
                sent += 65536
        assert sent < 100_000_000
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_replica_that_is_retired_answers_what_it_has_accepted(served):
    from ray import serve

    served.start("retired", max_ongoing=64)
    large = body(20_000)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(served.ask, "retired", large) for _ in range(12)]
        served.until(lambda: any(one.done() for one in asked))
        serve.delete("retired", _blocking=False)
        unanswered = sum(not one.done() for one in asked)
        statuses = [one.result()[0] for one in asked]
    assert unanswered > 0
    assert statuses == [200] * 12


def test_one_request_too_many_is_told_when_to_come_again(served):
    served.start("bounded", max_ongoing=1, batch=BatchSpec(mode="on", wait_ms=200))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: served.ask("bounded", body(1)), range(8)))
    refused = [answer for answer in answers if answer[0] == 429]
    assert {status for status, _, _ in answers} == {200, 429}
    for _, headers, content in refused:
        assert int(dict(headers)["retry-after"]) >= 1
        assert "waiting" in json.loads(content)["error"]


def test_replicas_are_added_while_more_requests_are_under_way(served):
    from ray import serve

    served.start("scaled", cpus=0.1, replicas=AutoscaleSpec(min=1, max=2, target_ongoing=1))

    def replicas():
        app = serve.status().applications["scaled"]
        return app.deployments["replica"].replica_states.get("RUNNING", 0)

    assert replicas() == 1
    stop = threading.Event()
    failed = []

    def load():
        content = body(500)
        while not stop.is_set():
            status = served.ask("scaled", content)[0]
            if status != 200:
                failed.append(status)

    with ThreadPoolExecutor(8) as pool:
        loading = [pool.submit(load) for _ in range(8)]
        try:
            served.until(lambda: replicas() == 2)
        finally:
            stop.set()
        [one.result() for one in loading]
    assert not failed
