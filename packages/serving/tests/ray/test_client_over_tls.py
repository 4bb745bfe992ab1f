"""The two clients over real connections: TLS, a server that restarts, one that never answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn

from agentloop.contracts import ModelUnreachable
from agentloop.lifecycle import InputColumn, Signature
from agentloop.serving import AsyncClient, Client
from agentloop.serving.replica.app import ReplicaApp

pytestmark = pytest.mark.ray
SIGNATURE = Signature("m", "regression", (InputColumn("x", "FP64"),), "y", ())


class Doubler:
    def predict(self, columns):
        values = columns["x"] * 2
        return values, values.astype(np.float32).reshape(-1, 1)


@contextmanager
def served(port=0, **options):
    """The port of a replica's application on a real server."""
    app = ReplicaApp(SIGNATURE, "0.1.0", Doubler(), None, max_body_bytes=1_000_000)
    listening = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="error", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def guarded(certificates):
    """The URL of a server with the first certificate."""
    files = {"ssl_certfile": certificates / "first.crt", "ssl_keyfile": certificates / "first.key"}
    with served(**files) as port:
        yield f"https://localhost:{port}"


def test_a_certificate_is_trusted_by_name_of_its_file(guarded, certificates):
    with Client(guarded, verify=certificates / "first.crt") as client:
        assert client.predict("m", {"x": 2.0}).labels == (4.0,)


def test_many_rows_go_raw_over_tls_asynchronously(guarded, certificates):
    async def ask():
        trusted = str(certificates / "first.crt")
        async with AsyncClient(guarded, verify=trusted, binary=True) as client:
            return await client.predict("m", {"x": np.arange(2500.0)})

    prediction = asyncio.run(ask())
    assert prediction.labels == tuple(np.arange(2500.0) * 2)
    assert [batch.rows for batch in prediction.batches] == [1000, 1000, 500]


@pytest.mark.parametrize("authority", ["second.crt", None])
def test_a_strangers_certificate_is_refused(guarded, certificates, authority):
    verify = True if authority is None else certificates / authority
    with Client(guarded, verify=verify, deadline_s=0.5) as client:
        with pytest.raises(ModelUnreachable, match=r"(?i)certificate"):
            client.predict("m", {"x": 2.0})
        assert not client.ready("m")


def test_a_server_that_comes_back_is_asked_again():
    with served() as port:
        client = Client(f"http://127.0.0.1:{port}")
        assert client.predict("m", {"x": 1.0}).labels == (2.0,)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(client.predict("m", {"x": 3.0})))
    waiting.start()
    with served(port):
        waiting.join(10)
    client.close()
    assert answers[0].labels == (6.0,)


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with (
            Client(f"http://127.0.0.1:{port}", timeout_s=0.1, deadline_s=0.3) as client,
            pytest.raises(ModelUnreachable),
        ):
            client.predict("m", {"x": 1.0})
