"""The replica's ASGI application, without Serve."""

from __future__ import annotations

import asyncio
import json
import threading

import numpy as np
import pytest

from agentloop.lifecycle import InputColumn, Signature
from agentloop.serving.protocol.decoding import RequestDecoder
from agentloop.serving.replica.app import INLINE_BYTES, ReplicaApp

SIGNATURE = Signature("m", "binary", (InputColumn("x", "FP64"),), "y", ("no", "yes"))
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [3.0]}]}
).encode()
INFER = "/v2/models/m/infer"


class Predictor:
    def predict(self, columns):
        if columns["x"][0] < 0:
            raise RuntimeError("broken")
        return np.array(["yes"] * len(columns["x"]), object), np.array([[0.0, 1.0]], np.float32)


class Watcher:
    def __init__(self, broken=False):
        self.seen, self.broken = [], broken

    def observe(self, columns, labels, seconds, status, endpoint):
        self.seen.append((dict(columns), list(labels), status, endpoint))
        if self.broken:
            raise RuntimeError("watching failed")


def make_app(predictor=None, watcher=None, **more):
    return ReplicaApp(SIGNATURE, "0.1.0", predictor or Predictor(), watcher, 1000, **more)


async def ask(path, body=None, headers=(), watcher=None, method=None, app=None):
    status, answered, content = await ask_raw(path, body, headers, watcher, method, app)
    return status, answered, json.loads(content)


async def ask_raw(path, body=None, headers=(), watcher=None, method=None, app=None):
    app = app or make_app(watcher=watcher)
    scope = {
        "type": "http",
        "method": method or ("GET" if body is None else "POST"),
        "path": "/root" + path,
        "root_path": "/root",
        "headers": list(headers),
    }
    chunks = [body or b""]
    sent = []

    async def receive():
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    names = [name for name, _ in sent[0]["headers"]]
    assert len(set(names)) == len(names)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_a_prediction_names_version_and_request():
    status, headers, answer = await ask(INFER, BODY, [(b"x-request-id", b"r-1")])
    assert status == 200
    assert (headers[b"x-model-version"], headers[b"x-request-id"]) == (b"0.1.0", b"r-1")
    assert answer["outputs"][0]["data"] == ["yes"]


@pytest.mark.parametrize("wild", [b"", b"a b", b"x" * 129, b"\xff"])
async def test_a_wild_request_id_is_replaced(wild):
    _, headers, _ = await ask(INFER, BODY, [(b"x-request-id", wild)])
    assert len(headers[b"x-request-id"]) == 32


@pytest.mark.parametrize(
    ("path", "body", "method", "expected"),
    [
        ("/nowhere", None, None, 404),
        ("/v2", b"{}", None, 405),
        (INFER, None, "GET", 405),
        (INFER, b"x" * 1001, None, 413),
        (INFER, b"{", None, 400),
        (INFER, BODY.replace(b"3.0", b"-3.0"), None, 500),
        ("/v2/models/m/versions/0.1.0/infer", BODY, None, 200),
        ("/v2/models/m/versions/0.2.0/infer", BODY, None, 404),
        ("/v2/models/m/versions/0.1.0/ready", None, None, 200),
        ("/v2/models/m/openapi.json", None, None, 200),
        ("/invocations", b'{"inputs": {"x": [1]}}', None, 200),
        ("/models/m/invocations", b'{"inputs": {"x": [1]}}', None, 200),
        ("/models/other/invocations", b'{"inputs": {"x": [1]}}', None, 404),
        ("/ping", None, None, 200),
        ("/health", None, "HEAD", 200),
        ("/version", None, None, 200),
    ],
)
async def test_each_path_has_its_status(path, body, method, expected):
    status, _, answer = await ask(path, body, method=method)
    assert status == expected
    assert (status == 200) != ("error" in answer)


async def test_a_compressed_body_is_refused():
    status, _, _ = await ask(INFER, BODY, [(b"content-encoding", b"gzip")])
    assert status == 415


async def test_the_observer_sees_predictions_and_failures_but_no_probes():
    watcher = Watcher()
    await ask(INFER, BODY, watcher=watcher)
    await ask(INFER, b"{", watcher=watcher)
    await ask(INFER, BODY, [(b"x-agentloop-probe", b"1")], watcher=watcher)
    await ask("/v2", watcher=watcher)
    assert [(labels, status) for _, labels, status, _ in watcher.seen] == [
        (["yes"], 200),
        ([], 400),
    ]
    assert watcher.seen[1][0] == {}


async def test_a_failing_observer_fails_no_request():
    status, _, _ = await ask(INFER, BODY, watcher=Watcher(broken=True))
    assert status == 200


class Slow(Predictor):
    """Waits for its gate; heavy from the second prediction on."""

    def __init__(self):
        self.gate, self.begun = threading.Event(), threading.Event()

    def predict(self, columns):
        self.begun.set()
        assert self.gate.wait(5)
        return super().predict(columns)


def heavy(predictor, **more):
    app = make_app(predictor, **more)
    app._batcher.seconds = 3.0
    return app


async def test_health_is_answered_and_one_request_too_many_refused_while_a_model_predicts():
    predictor = Slow()
    app = heavy(predictor, max_ongoing=2)
    tasks = [asyncio.create_task(ask(INFER, BODY, app=app)) for _ in range(2)]
    assert await asyncio.to_thread(predictor.begun.wait, 5)
    assert (await ask("/v2/health/ready", app=app))[0] == 200
    status, headers, answer = await ask(INFER, BODY, app=app)
    assert (status, headers[b"retry-after"]) == (429, b"6")
    assert "2 requests are waiting" in answer["error"]
    predictor.gate.set()
    assert [status for status, _, _ in await asyncio.gather(*tasks)] == [200, 200]
    assert (await ask(INFER, BODY, app=app))[0] == 200


async def test_a_replica_that_drains_is_not_ready_and_answers_until_it_is_closed():
    app = make_app()
    app.drain()
    status, headers, _ = await ask("/v2/health/ready", app=app)
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert (await ask("/v2/health/live", app=app))[0] == 200
    assert (await ask(INFER, BODY, app=app))[0] == 200
    await shut_down(app)
    app.drain()
    status, headers, answer = await ask(INFER, BODY, app=app)
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert "shutting down" in answer["error"]


async def shut_down(app):
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("path", [INFER, "/nowhere", "/v2"])
async def test_every_answer_continues_the_trace_of_its_request(path):
    trace, span = b"a" * 32, b"b" * 16
    parent = b"00-%b-%b-01" % (trace, span)
    _, headers, _ = await ask(path, b"{", [(b"traceparent", parent)])
    version, same, other, flags = headers[b"traceresponse"].split(b"-")
    assert (version, same, flags) == (b"00", trace, b"01")
    assert other != span


async def test_two_parents_are_none():
    parents = [(b"traceparent", b"00-%b-%b-01" % (digit * 32, b"b" * 16)) for digit in (b"a", b"c")]
    _, headers, _ = await ask(INFER, BODY, parents)
    assert headers[b"traceresponse"].split(b"-")[1] not in (b"a" * 32, b"c" * 32)


async def test_raw_tensors_come_and_go():
    text = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": [1],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 4},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    body = text + np.array([3.0], "<f4").tobytes()
    length = [(b"inference-header-content-length", b"%d" % len(text))]
    status, headers, content = await ask_raw(INFER, body, length)
    head = int(headers[b"inference-header-content-length"])
    assert (status, headers[b"content-type"]) == (200, b"application/octet-stream")
    assert content[head:] == b"\x03\0\0\0yes" + np.array([0, 1], "<f4").tobytes()


@pytest.mark.parametrize("path", ["/docs", "/v2/models/m/docs", "/v2/models/m/versions/0.1.0/docs"])
async def test_the_documentation_is_a_page_that_may_load_nothing(path):
    status, headers, content = await ask_raw(path)
    assert (status, headers[b"content-type"]) == (200, b"text/html; charset=utf-8")
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert b"/v2/models/m/infer" in content


async def test_csv_is_refused_by_its_type():
    status, _, answer = await ask("/invocations", b"x\n1\n", [(b"content-type", b"text/csv")])
    assert status == 415
    assert "application/json" in answer["error"]


async def test_a_method_that_is_not_allowed_is_told_which_is():
    assert (await ask(INFER, method="GET"))[1][b"allow"] == b"POST"
    assert (await ask("/v2", method="POST"))[1][b"allow"] == b"GET, HEAD"


class Evidence:
    def __init__(self):
        self.seen = []

    def answered(self, headers, endpoint, content, labels, seconds, status, comparable=True):
        self.seen.append((status, comparable))

    def close(self):
        pass


@pytest.mark.parametrize(
    ("more", "comparable"),
    [
        ({}, True),
        ({"id": "7"}, True),
        ({"outputs": [{"name": "probabilities"}]}, False),
        ({"parameters": {"binary_data_output": True}}, False),
    ],
)
async def test_evidence_is_told_whose_copy_could_not_be_compared(more, comparable):
    evidence = Evidence()
    body = json.dumps({**json.loads(BODY), **more}).encode()
    await ask_raw(INFER, body, app=make_app(evidence=evidence))
    assert evidence.seen == [(200, comparable)]


class Gated:
    """Reads large bodies when it is let."""

    def __init__(self):
        self.begun, self.gate = asyncio.Event(), asyncio.Event()

    async def decode(self, endpoint, body, json_length):
        self.begun.set()
        await self.gate.wait()
        return RequestDecoder(SIGNATURE).decode(endpoint, body, json_length)


async def test_small_requests_are_answered_while_a_large_body_is_read():
    app = ReplicaApp(SIGNATURE, "0.1.0", Predictor(), None, 10**6)
    app._large = gated = Gated()
    large = asyncio.create_task(ask(INFER, BODY + b" " * INLINE_BYTES, app=app))
    await gated.begun.wait()
    assert (await ask(INFER, BODY, app=app))[0] == 200
    assert not large.done()
    app._body._max_arriving = 2 * INLINE_BYTES
    status, headers, answer = await ask(INFER, BODY + b" " * INLINE_BYTES, app=app)
    assert (status, headers[b"retry-after"]) == (429, b"1")
    assert "large bodies" in answer["error"]
    gated.gate.set()
    assert (await large)[0] == 200


def many(rows):
    tensor = {"name": "x", "shape": [rows], "datatype": "FP64", "data": [3.0] * rows}
    return json.dumps({"inputs": [tensor]}).encode()


class Rows:
    def predict(self, columns):
        rows = len(columns["x"])
        return np.array(["yes"] * rows, object), np.full((rows, 2), 0.5, np.float32)


@pytest.mark.parametrize("path", [INFER, "/invocations"])
async def test_a_large_request_is_answered_as_a_small_one_and_watched(path):
    watcher = Watcher()
    app = ReplicaApp(SIGNATURE, "0.1.0", Rows(), watcher, 10**6)
    body = many(20_000) if path == INFER else json.dumps({"instances": [3.0] * 20_000}).encode()
    assert len(body) > INLINE_BYTES
    status, _, answer = await ask(path, body, app=app)
    assert status == 200
    found = answer["outputs"][0]["data"] if path == INFER else answer["predictions"]
    assert found == ["yes"] * 20_000
    await shut_down(app)
    app._aside.shutdown()
    assert [len(labels) for _, labels, _, _ in watcher.seen] == [20_000]


async def test_a_large_body_that_does_not_fit_is_refused_as_a_small_one():
    app = ReplicaApp(SIGNATURE, "0.1.0", Rows(), None, 10**6)
    bad = many(20_000).replace(b"3.0", b"NaN", 1)
    small = many(2).replace(b"3.0", b"NaN", 1)
    assert (await ask(INFER, bad, app=app))[::2] == (await ask(INFER, small, app=app))[::2]
    await shut_down(app)


CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "closes"),
    [
        (INFER, BODY, [CHUNKED], 200, False),
        (INFER, BODY[:-1], [CHUNKED], 400, False),
        (INFER, BODY + b" " * 1000, [CHUNKED], 413, True),
        (INFER, BODY, [CHUNKED, (b"content-encoding", b"gzip")], 415, True),
        ("/nothing", BODY, [CHUNKED], 404, True),
        (INFER, BODY, [(b"content-encoding", b"gzip")], 415, False),
    ],
)
async def test_a_body_without_an_end_is_not_waited_for(path, body, headers, status, closes):
    found, answered, _ = await ask(path, body, headers)
    assert (found, answered.get(b"connection") == b"close") == (status, closes)
