"""Ten thousand seeded bodies and a museum of hostile ones: typed 4xx, short, and no growth."""

from __future__ import annotations

import gzip
import json
import random
import resource

import numpy as np
import orjson
import pytest

from agentloop.lifecycle import InputColumn, Signature
from agentloop.serving.protocol.hostile_requests import HOSTILE_BODIES, HOSTILE_HEADERS, fuzz_body
from agentloop.serving.replica.app import ReplicaApp

MIXED = Signature(
    "m", "binary", (InputColumn("x", "FP64"), InputColumn("c", "BYTES")), "y", ("no", "yes")
)
INFER = "/v2/models/m/infer"
BODIES = 10_000
MAX_ANSWER = 4096
MAX_GROWTH_MB = 200


class Model:
    """Answers what it is given, and trips over what is no column of the model's kind."""

    def predict(self, columns):
        assert columns["x"].dtype == np.float64
        rows = len(columns["c"])
        assert all(value is None or type(value) is str for value in columns["c"])
        return np.array(["yes"] * rows, object), np.full((rows, 2), 0.5, np.float32)


@pytest.fixture(scope="module")
def app():
    app = ReplicaApp(MIXED, "0.1.0", Model(), None, max_body_bytes=1_000_000)
    yield app
    app._large.close()


async def ask(app, body, path=INFER, headers=(), method="POST"):
    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def check(status, headers, body):
    assert status == 200 or 400 <= status < 500
    assert len(headers[b"x-request-id"]) <= 128
    assert headers[b"x-model-version"] == b"0.1.0"
    if status != 200:
        assert len(body) <= MAX_ANSWER
        assert set(json.loads(body)) == {"error"}
        assert len(json.loads(body)["error"]) > 5


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def test_ten_thousand_bodies_get_a_typed_answer(app):
    before, statuses = peak_mb(), {}
    for seed in range(BODIES):
        body, path, headers = fuzz_body(random.Random(seed), "m")
        status, answered, content = await ask(app, body, path, headers)
        check(status, answered, content)
        statuses[status] = statuses.get(status, 0) + 1
    # A suite that only ever sends nonsense, or only sound bodies, would prove nothing.
    assert statuses[200] > BODIES / 50
    assert statuses[400] > BODIES / 2
    assert peak_mb() - before < MAX_GROWTH_MB


@pytest.mark.parametrize("name", HOSTILE_BODIES)
@pytest.mark.parametrize("path", [INFER, "/invocations"])
async def test_a_hostile_body_is_refused(app, name, path):
    before = peak_mb()
    status, headers, content = await ask(app, HOSTILE_BODIES[name](), path)
    check(status, headers, content)
    assert status != 200
    assert peak_mb() - before < MAX_GROWTH_MB


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
async def test_hostile_headers_change_nothing_or_are_refused(app, name):
    tensors = [
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]},
        {"name": "c", "shape": [1], "datatype": "BYTES", "data": ["a"]},
    ]
    body = orjson.dumps({"inputs": tensors})
    status, headers, content = await ask(app, body, INFER, HOSTILE_HEADERS[name])
    check(status, headers, content)


async def test_a_gzip_bomb_is_never_unpacked(app):
    bomb = gzip.compress(b"0" * 50_000_000)
    before = peak_mb()
    for encoding in (b"gzip", b"deflate", b"br", b"gzip, gzip"):
        status, _, _ = await ask(app, bomb, headers=[(b"content-encoding", encoding)])
        assert status == 415
    status, _, _ = await ask(app, bomb)
    assert status == 400
    assert peak_mb() - before < 20


async def test_a_gigabyte_in_chunks_is_cut_off(app):
    given = 0

    async def receive():
        nonlocal given
        given += 65536
        return {"type": "http.request", "body": b"1" * 65536, "more_body": given < 10**9}

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": INFER, "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert given < 2_000_000


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "TRACE", "CONNECT", "\x00", "post", "GET" * 999]
)
@pytest.mark.parametrize("path", [INFER, "/v2", "/../../etc/passwd", "/" * 9000, "/v2/\udcff", ""])
async def test_wild_paths_and_methods_get_a_typed_answer(app, method, path):
    status, headers, content = await ask(app, b"{}", path, method=method)
    check(status, headers, content)
    assert status in (404, 405)
