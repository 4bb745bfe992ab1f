"""The two clients against a replica's own application, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import inspect
import json

import httpx
import numpy as np
import pytest

from agentloop.contracts import (
    AccessDenied,
    ModelNotServed,
    ModelUnreachable,
    RequestRejected,
    ServerBusy,
)
from agentloop.lifecycle import InputColumn, Signature
from agentloop.serving import AsyncClient, Client
from agentloop.serving.client.exchange import RetryPolicy
from agentloop.serving.replica.app import ReplicaApp

SIGNATURE = Signature(
    "m", "binary", (InputColumn("x", "FP64"), InputColumn("colour", "BYTES")), "y", ("no", "yes")
)
URL = "http://model"


class Predictor:
    """yes above 0, no where x is missing or not; sure of itself where the colour is known."""

    def predict(self, columns):
        yes = np.nan_to_num(columns["x"], nan=-1.0) > 0
        sure = np.array([colour is not None for colour in columns["colour"]])
        chance = np.where(sure, 0.75, 0.5)
        labels = np.where(yes, "yes", "no").astype(object)
        return labels, np.stack(
            [np.where(yes, 1 - chance, chance), np.where(yes, chance, 1 - chance)], 1
        ).astype(np.float32)


class Replica:
    """A replica in this process, as a transport of either client. Remembers what it was sent."""

    def __init__(self):
        self.app = ReplicaApp(SIGNATURE, "0.1.0", Predictor(), None, max_body_bytes=100_000)
        self.seen = []

    async def answer(self, request):
        self.seen.append(request)
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.url.path,
            "headers": [(k.lower(), v) for k, v in request.headers.raw],
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": request.content}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        return httpx.Response(
            sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"]
        )

    def posts(self):
        return [request for request in self.seen if request.method == "POST"]


class Waits:
    """A clock that pauses move; what was waited for."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def policy(self, **options):
        return RetryPolicy(
            clock=lambda: self.now, chance=lambda: 0.5, wall_clock=lambda: 0.0, **options
        )


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture(params=["sync", "async"])
def connect(request, monkeypatch, waits):
    """``connect(handler, **options)`` is a client, driven as its users drive it."""
    loop = asyncio.new_event_loop()

    def pause(seconds):
        waits.pauses.append(seconds)
        waits.now += seconds

    async def pause_async(seconds):
        pause(seconds)

    monkeypatch.setattr("agentloop.serving.client.clients.time.sleep", pause)
    monkeypatch.setattr("agentloop.serving.client.clients.asyncio.sleep", pause_async)

    class Driven:
        def __init__(self, handler, **options):
            kind = Client if request.param == "sync" else AsyncClient
            policy = {"retry": waits.policy(), **options}
            self.client = kind(URL, transport=self.transport(handler), **policy)

        def transport(self, handler):
            answer = getattr(handler, "answer", handler)
            waiting = inspect.iscoroutinefunction(answer)

            async def later(asked):
                return await answer(asked) if waiting else answer(asked)

            def now(asked):
                return loop.run_until_complete(later(asked))

            return httpx.MockTransport(now if request.param == "sync" else later)

        def __getattr__(self, name):
            method = getattr(self.client, name)

            def call(*args, **options):
                result = method(*args, **options)
                return loop.run_until_complete(result) if inspect.isawaitable(result) else result

            return call

    yield Driven
    loop.close()


class Script:
    """Answers in turn; the last one for ever. Metadata is answered always."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), 0
        self.replica = Replica()

    async def answer(self, request):
        if request.method == "GET":
            return await self.replica.answer(request)
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer == 200:
            return await self.replica.answer(request)
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        return httpx.Response(status, headers=headers, json={"error": f"it is {status}"})


ROW = {"x": 1.0, "colour": "red"}


@pytest.mark.parametrize("binary", [False, True])
def test_answers_are_typed(connect, binary):
    prediction = connect(Replica(), binary=binary).predict("m", [ROW, {"x": None, "colour": None}])
    assert prediction.labels == ("yes", "no")
    assert prediction.probabilities == ((0.25, 0.75), (0.5, 0.5))
    assert prediction.model_version == "0.1.0"
    assert prediction.batches[0].rows == 2


def test_binary_requests_carry_raw_tensors_both_ways(connect):
    replica = Replica()
    client = connect(replica, binary=True)
    client.predict("m", {"x": np.arange(3.0), "colour": ["red", "é", ""]})
    sent = replica.posts()[0]
    length = int(sent.headers["inference-header-content-length"])
    assert sent.content[length : length + 24] == np.arange(3.0).tobytes()
    assert sent.content[length + 24 :] == b"\3\0\0\0red\2\0\0\0\xc3\xa9\0\0\0\0"
    assert json.loads(sent.content[:length])["parameters"] == {"binary_data_output": True}


@pytest.mark.parametrize(
    "rows",
    [
        ROW,
        [ROW],
        {"x": [1.0], "colour": ["red"]},
        {"x": np.array([1.0]), "colour": np.array(["red"])},
        [[1.0, "red"]],
        [(1.0, "red")],
        np.array([[1.0, "red"]], dtype=object),
        {**ROW, "extra": 1},
    ],
    ids=["row", "rows", "columns", "arrays", "lists", "tuples", "matrix", "more columns"],
)
def test_rows_come_in_many_shapes(connect, rows):
    assert connect(Replica()).predict("m", rows).labels == ("yes",)


def test_a_pandas_table_may_hold_nulls_of_its_own(connect):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {"colour": ["red", pandas.NA], "x": pandas.array([1, pandas.NA], "Int64")}
    )
    prediction = connect(Replica()).predict("m", table)
    assert prediction.labels == ("yes", "no")
    assert prediction.probabilities[1] == (0.5, 0.5)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"x": 1.0}, "missing columns: colour"),
        ([ROW, {"x": 1.0}], "missing columns: colour"),
        ({"x": "ten", "colour": "red"}, "'x' must hold numbers"),
        ({"x": float("inf"), "colour": "red"}, "infinite"),
        ({"x": [1.0, 2.0], "colour": ["red"]}, "equally long"),
        ([[1.0]], "the model's 2 columns"),
        ([[1.0, "red"], [1.0]], "equally long"),
        ([], "columns|no rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused_before_they_are_sent(connect, rows, reason):
    replica = Replica()
    with pytest.raises(RequestRejected, match=reason):
        connect(replica).predict("m", rows)
    assert not replica.posts()


def test_a_long_input_goes_in_batches_of_one_session(connect):
    replica = Replica()
    client = connect(replica, batch_rows=2)
    prediction = client.predict(
        "m", {"x": [1, -1, 1, -1, 1], "colour": ["red"] * 5}, request_id="r"
    )
    assert prediction.labels == ("yes", "no", "yes", "no", "yes")
    assert [(b.rows, b.request_id) for b in prediction.batches] == [
        (2, "r"),
        (2, "r.1"),
        (1, "r.2"),
    ]
    sessions = {request.headers["x-session-id"] for request in replica.posts()}
    assert len(sessions) == 1


def test_headers_of_a_call_reach_the_model(connect):
    replica = Replica()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    prediction = connect(replica, session="s", api_key="secret").predict(
        "m", ROW, request_id="mine", traceparent=trace, version="0.2.0"
    )
    headers = replica.posts()[0].headers
    assert headers["x-session-id"] == "s"
    assert headers["authorization"] == "Bearer secret"
    assert headers["x-agentloop-version"] == "0.2.0"
    assert headers["traceparent"] == trace
    assert prediction.request_id == "mine"


def test_the_key_is_that_of_the_environment(connect, monkeypatch):
    monkeypatch.setenv("AGENTLOOP_API_KEY", "from-there")
    replica = Replica()
    connect(replica).predict("m", ROW)
    assert {r.headers["authorization"] for r in replica.seen} == {"Bearer from-there"}


def test_no_key_is_sent_where_none_is_set(connect, monkeypatch):
    monkeypatch.delenv("AGENTLOOP_API_KEY", raising=False)
    replica = Replica()
    connect(replica).predict("m", ROW)
    assert not any("authorization" in request.headers for request in replica.seen)


@pytest.mark.parametrize(
    "failure", [503, 502, 504, 429, httpx.ReadError("cut"), httpx.ConnectError("no")]
)
def test_what_passes_is_tried_again(connect, failure, waits):
    script = Script(failure, failure, 200)
    client = connect(script)
    assert client.predict("m", ROW).labels == ("yes",)
    assert script.calls == 3
    assert waits.pauses == [0.05, 0.1]  # half of 0.1 and of 0.2


def test_retries_keep_their_request_id(connect):
    seen = []

    async def answer(request):
        if request.method == "POST":
            seen.append(request.headers["x-request-id"])
        return await script.answer(request)

    script = Script(503, 200)
    connect(answer).predict("m", ROW)
    assert len(seen) == 2
    assert len(set(seen)) == 1


@pytest.mark.parametrize("asked", ["3", "Thu, 01 Jan 1970 00:00:03 GMT"])
def test_a_retry_after_is_waited_for(connect, asked, waits):
    client = connect(Script((429, {"retry-after": asked}), 200))
    client.predict("m", ROW)
    assert waits.pauses == [pytest.approx(3.05)]


def test_a_retry_after_past_the_deadline_ends_it_at_once(connect, waits):
    script = Script((429, {"retry-after": "60"}))
    client = connect(script)
    with pytest.raises(ServerBusy) as caught:
        client.predict("m", ROW)
    assert caught.value.retry_after_s == 60
    assert (script.calls, waits.pauses) == (1, [])


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, ModelNotServed), (429, ServerBusy), (502, ModelUnreachable)],
)
def test_retries_end_with_a_typed_error(connect, status, error):
    script = Script(status)
    with pytest.raises(error):
        connect(script).predict("m", ROW)
    assert script.calls == 8


def test_the_deadline_bounds_all_attempts(connect, waits):
    script = Script(503)
    with pytest.raises(ModelNotServed):
        connect(script, retry=waits.policy(deadline_s=0.2)).predict("m", ROW)
    assert waits.pauses == [0.05, 0.1]
    assert script.calls == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestRejected),
        (413, RequestRejected),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, ModelNotServed),
        (500, ModelUnreachable),
    ],
)
def test_what_would_fail_again_is_not_repeated(connect, status, error):
    script = Script(status)
    with pytest.raises(error):
        connect(script).predict("m", ROW)
    assert script.calls == 1


def test_an_answer_of_another_protocol_is_told(connect):
    def answer(request):
        return httpx.Response(200, json={"predictions": [1]})

    with pytest.raises(ModelUnreachable, match="cannot be read"):
        connect(answer).predict("m", ROW)


def test_metadata_is_asked_once_and_again_after_a_rejection(connect):
    script = Script(200, 200, 400, 200)
    client = connect(script)
    assert client.metadata("m").inputs[1].datatype == "BYTES"
    client.predict("m", ROW)
    client.predict("m", ROW)
    assert len(script.replica.seen) == 3
    with pytest.raises(RequestRejected):
        client.predict("m", ROW)
    client.predict("m", ROW)
    assert [r.method for r in script.replica.seen].count("GET") == 2


def test_ready_says_no_without_an_error(connect):
    assert connect(Replica()).ready("m")
    assert not connect(Script(503)).ready("nobody")

    def refuse(request):
        raise httpx.ConnectError("refused")

    assert not connect(refuse).ready("m")


def test_ready_needs_the_key_that_the_edge_asks_for(connect):
    def refuse(request):
        return httpx.Response(401, json={"error": "an API key is needed"})

    with pytest.raises(AccessDenied, match="an API key is needed"):
        connect(refuse).ready()


def test_errors_never_show_the_key(connect):
    def refuse(request):
        raise httpx.ConnectError("refused")

    client = connect(refuse, api_key="secret")
    with pytest.raises(ModelUnreachable) as caught:
        client.predict("m", ROW)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(client.client._core._settings)
