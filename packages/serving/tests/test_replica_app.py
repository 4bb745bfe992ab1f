"""The replica's ASGI application, without Serve."""

from __future__ import annotations

import json

import numpy as np
import pytest

from agentloop.lifecycle import InputColumn, Signature
from agentloop.serving.replica_app import ReplicaApp

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


async def ask(path, body=None, headers=(), watcher=None, method=None):
    app = ReplicaApp(SIGNATURE, "0.1.0", Predictor(), watcher, max_body_bytes=1000)
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
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


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
